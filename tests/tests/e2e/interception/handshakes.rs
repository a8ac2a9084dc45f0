//! The certificates of servers and of the sandbox's CA, and handshakes without a name.

use super::world::World;

/// Servers with certificates of all kinds.
pub fn servers_are_verified(world: &World) {
    let tries = world.tries("handshakes");
    for name in ["api", "known", "dev"] {
        tries.has(name, &["200 "]);
        tries.is(&format!("issuer of {name}"), "the sandbox");
    }
    // A CA that is for another host, and a certificate that nobody issued for this host.
    for name in ["dev2", "untrusted"] {
        let host = format!("{name}.example.org");
        let problem = format!("the certificate of {host} is not trusted: its issuer is unknown to this host");
        let hint = "add its CA with `tls { ca … }`";
        tries.has(name, &["502 msb: ", &problem, hint]);
        tries.is(&format!("issuer of {name}"), "the sandbox");
        world.servers.never_saw(&format!("/handshake/{name}"));
        world.project.wait_for_log("box", &[&format!("cannot forward to {host} ("), &problem]);
    }
    let client =
        "client.example.org asked for a client certificate, which intercepted connections do not have";
    tries.has("client", &["502 msb: ", client, "bypass"]);
    // It is not intercepted: the guest sees its certificate, and it sees the placeholder.
    tries.is("issuer of pinned", "its own");
    tries.has("pinned", &["200 "]);
    tries.has("verified pinned", &["not trusted"]);
    assert_eq!(world.servers.request("/handshake/pinned").header("x-key"), "$MSB_PINNED$");

    tries.is("hello", "answered");
    tries.are_refused(&["hello without a name", "hello with a hidden name", "udp 443", "other protocol"]);
    tries.is("udp 5000", "ping");
    world.outside.never_saw("udp 93.184.216.20 443");
    world.project.wait_for_log(
        "box",
        &["TLS is intercepted on port 443, and QUIC cannot be: use TCP", "\"acme-tls/1\", which is not HTTP"],
    );
}
