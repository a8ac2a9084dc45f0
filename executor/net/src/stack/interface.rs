//! Sets up the TCP engine to answer for every address.

use crate::address::Addresses;
use smoltcp::iface::Interface;
use smoltcp::wire::IpCidr;

/// Lets the engine accept packets to any address: the stack terminates all connections of the guest.
pub(super) fn accept_all_addresses(interface: &mut Interface, addresses: &Addresses) {
    let Addresses { gateway_ipv4, gateway_ipv6, .. } = *addresses;
    interface.update_ip_addrs(|own| {
        // The engine has room for two.
        let _ = own.push(IpCidr::new(gateway_ipv4.into(), rules::pool::IPV4_PREFIX));
        let _ = own.push(IpCidr::new(gateway_ipv6.into(), rules::pool::IPV6_PREFIX));
    });
    interface.set_any_ip(true);
    let _ = interface.routes_mut().add_default_ipv4_route(gateway_ipv4);
    let _ = interface.routes_mut().add_default_ipv6_route(gateway_ipv6);
}
