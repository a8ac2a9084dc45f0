//! Subnets of the address pools: each recorded sandbox has the lowest free ones.
//!
//! They are chosen and recorded in one transaction, and not by the planner: all projects share the pools, and two plans at
//! the same time would choose the same subnets. The record contains the subnet and not its number, so that pools may
//! overlap and change.

use super::{Catalog, CatalogError, failpoint, rows};
use executor_net::{Addresses, Family, Pools};
use rusqlite::{Connection, Row, Transaction, params};
use schemas::name::SandboxId;
use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The first half of the address, in hex.
fn ipv6_text(subnet: Ipv6Addr) -> String {
    format!("{:016x}", u128::from(subnet) >> 64)
}

/// Reads the subnets of a sandbox; `None` for an unreadable IPv6 one.
fn read_row(row: &Row<'_>) -> rusqlite::Result<(Ipv4Addr, Option<Ipv6Addr>)> {
    let half = u64::from_str_radix(&row.get::<_, String>(1)?, 16).ok();
    let ipv6 = half.map(|half| Ipv6Addr::from(u128::from(half) << 64));
    Ok((Ipv4Addr::from(row.get::<_, u32>(0)?), ipv6))
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
        self.transact("choose addresses", |transaction| choose(transaction, id, pools))
    }
}

fn choose(
    transaction: Transaction<'_>,
    id: &SandboxId,
    pools: Pools,
) -> rusqlite::Result<Result<Addresses, Family>> {
    let sql = "SELECT ipv4, ipv6 FROM network_addresses WHERE sandbox = ?1";
    let known = rows(&transaction, sql, params![id.as_str()], read_row)?.into_iter().next();
    let known = known.and_then(|(ipv4, ipv6)| Some((ipv4, ipv6?)));
    if let Some((ipv4, ipv6)) = known.filter(|(ipv4, ipv6)| pools.contain(*ipv4, *ipv6)) {
        return Ok(Ok(Addresses::of_subnets(ipv4, ipv6)));
    }
    let (ipv4, ipv6) = match free(&transaction, id, pools)? {
        Ok(subnets) => subnets,
        Err(family) => return Ok(Err(family)),
    };
    transaction.execute(
        "INSERT INTO network_addresses (sandbox, ipv4, ipv6) VALUES (?1, ?2, ?3)
         ON CONFLICT (sandbox) DO UPDATE SET ipv4 = ?2, ipv6 = ?3",
        params![id.as_str(), u32::from(ipv4), ipv6_text(ipv6)],
    )?;
    transaction.commit()?;
    failpoint::written();
    Ok(Ok(Addresses::of_subnets(ipv4, ipv6)))
}

/// Returns the lowest subnets that no other sandbox has.
fn free(
    connection: &Connection,
    id: &SandboxId,
    pools: Pools,
) -> rusqlite::Result<Result<(Ipv4Addr, Ipv6Addr), Family>> {
    let sql = "SELECT ipv4, ipv6 FROM network_addresses WHERE sandbox <> ?1";
    let others = rows(connection, sql, params![id.as_str()], read_row)?;
    let (ipv4, ipv6): (HashSet<_>, HashSet<_>) = others.into_iter().unzip();
    let mut subnets = (0..pools.ipv4_subnets()).filter_map(|number| pools.ipv4_subnet(number));
    let Some(four) = subnets.find(|subnet| !ipv4.contains(subnet)) else { return Ok(Err(Family::Ipv4)) };
    let mut subnets = (0..pools.ipv6_subnets()).filter_map(|number| pools.ipv6_subnet(number));
    let Some(six) = subnets.find(|subnet| !ipv6.contains(&Some(*subnet))) else {
        return Ok(Err(Family::Ipv6));
    };
    Ok(Ok((four, six)))
}
