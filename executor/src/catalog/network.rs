//! Subnets of the address pools: each recorded sandbox has the lowest free ones.
//!
//! They are chosen and recorded in one transaction, and not by the planner: all projects share the pools, and two plans at
//! the same time would choose the same subnets. The record contains the subnet and not its number, so that pools may
//! overlap and change.

use super::{Catalog, CatalogError, failed, failpoint};
use executor_net::{Addresses, Family, Pools};
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use schemas::name::SandboxId;
use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

const ACTION: &str = "choose addresses";

/// The first addresses of a sandbox's subnets: the IPv4 one as a number, the first half of the IPv6 one in hex.
type Pieces = (u32, String);

fn ipv6_text(piece: Ipv6Addr) -> String {
    format!("{:016x}", u128::from(piece) >> 64)
}

fn ipv6_of(text: &str) -> Option<Ipv6Addr> {
    u64::from_str_radix(text, 16).ok().map(|half| Ipv6Addr::from(u128::from(half) << 64))
}

impl Catalog {
    /// Returns the addresses of a recorded sandbox, and assigns some of these pools if it has none. The inner error is the
    /// family whose pool is exhausted.
    ///
    /// # Errors
    ///
    /// If the catalog fails.
    pub fn network_addresses(
        &self,
        id: &SandboxId,
        pools: Pools,
    ) -> Result<Result<Addresses, Family>, CatalogError> {
        let mut connection = self.writer()?;
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed(ACTION))?;
        let known: Option<Pieces> = transaction
            .query_row(
                "SELECT ipv4, ipv6 FROM network_addresses WHERE sandbox = ?1",
                params![id.as_str()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()
            .map_err(failed(ACTION))?;
        let known = known.and_then(|(ipv4, ipv6)| Some((Ipv4Addr::from(ipv4), ipv6_of(&ipv6)?)));
        if let Some((ipv4, ipv6)) = known.filter(|(ipv4, ipv6)| pools.contain(*ipv4, *ipv6)) {
            return Ok(Ok(Addresses::of_subnets(ipv4, ipv6)));
        }
        let (ipv4, ipv6) = match free(&transaction, id, pools)? {
            Ok(subnets) => subnets,
            Err(family) => return Ok(Err(family)),
        };
        transaction
            .execute(
                "INSERT INTO network_addresses (sandbox, ipv4, ipv6) VALUES (?1, ?2, ?3)
                 ON CONFLICT (sandbox) DO UPDATE SET ipv4 = ?2, ipv6 = ?3",
                params![id.as_str(), u32::from(ipv4), ipv6_text(ipv6)],
            )
            .map_err(failed(ACTION))?;
        transaction.commit().map_err(failed(ACTION))?;
        failpoint::written();
        Ok(Ok(Addresses::of_subnets(ipv4, ipv6)))
    }
}

/// Returns the lowest subnets that no other sandbox has.
fn free(
    transaction: &Transaction<'_>,
    id: &SandboxId,
    pools: Pools,
) -> Result<Result<(Ipv4Addr, Ipv6Addr), Family>, CatalogError> {
    let mut others = transaction
        .prepare("SELECT ipv4, ipv6 FROM network_addresses WHERE sandbox <> ?1")
        .map_err(failed(ACTION))?;
    let rows = others
        .query_map(params![id.as_str()], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, String>(1)?)))
        .map_err(failed(ACTION))?;
    let (mut ipv4, mut ipv6) = (HashSet::new(), HashSet::new());
    for row in rows {
        let (four, six) = row.map_err(failed(ACTION))?;
        ipv4.insert(Ipv4Addr::from(four));
        ipv6.extend(ipv6_of(&six));
    }
    let mut subnets = (0..pools.ipv4_subnets()).filter_map(|number| pools.ipv4_subnet(number));
    let Some(four) = subnets.find(|piece| !ipv4.contains(piece)) else { return Ok(Err(Family::Ipv4)) };
    let mut subnets = (0..pools.ipv6_subnets()).filter_map(|number| pools.ipv6_subnet(number));
    let Some(six) = subnets.find(|piece| !ipv6.contains(piece)) else { return Ok(Err(Family::Ipv6)) };
    Ok(Ok((four, six)))
}
