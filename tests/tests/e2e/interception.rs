//! The interception of TLS, and secrets: values get to their hosts alone, with clients in a guest and servers that record
//! what they receive.

mod arriving;
mod changes;
mod clients;
mod elsewhere;
mod handshakes;
mod host;
pub mod world;

use world::World;

#[test]
fn values_get_to_their_hosts_alone() {
    let world = World::up();
    arriving::values_arrive_in_the_parts_of_a_request(&world);
    arriving::streams_arrive(&world);
    arriving::git_clones_with_a_value(&world);
    elsewhere::requests_with_placeholders_are_refused(&world);
    handshakes::servers_are_verified(&world);
    changes::hosts_change_while_it_runs(&world);
    elsewhere::a_sandbox_is_stopped_for_a_violation(&world);
    world.down();
}
