//! Name servers of the Sandboxfile: they are asked instead of the host's, and the rules decide as before.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use tests::Project;

/// The length of the header of a DNS message, in bytes.
const HEADER: usize = 12;

/// Starts a name server that answers each question about an IPv4 address with this one.
fn serve(address: Ipv4Addr) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let own = socket.local_addr().expect("a bound socket");
    thread::spawn(move || -> io::Result<()> {
        let mut buffer = [0; 1500];
        loop {
            let (length, client) = socket.recv_from(&mut buffer)?;
            let query = &buffer[..length];
            let labels = query[HEADER..].iter().position(|byte| *byte == 0).expect("the end of a name");
            let question = &query[HEADER..HEADER + labels + 5];
            let is_ipv4 = question[labels + 1..][..2] == [0, 1];
            // The id, and: a response, recursion available, one question, one answer or none.
            let mut answer =
                [&query[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0], question].concat();
            if is_ipv4 {
                // The name of the question, type A, class IN, a minute.
                answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend(address.octets());
            }
            socket.send_to(&answer, client)?;
        }
    });
    own
}

fn file(server: SocketAddr) -> String {
    format!(
        r#"
project "names"
sandbox "box" {{
    image "@image"
    start "sleep" "1000"
    network default="deny" {{
        dns "{server}" {{ search "corp.example" }}
        allow "db.corp.example" "elsewhere.example"
    }}
}}
"#
    )
}

/// Looks a name up in the guest; returns the output.
fn look_up(project: &Project, name: &str) -> String {
    project.run(&["exec", "box", "--", "nslookup", "-type=a", name]).out().to_owned()
}

#[test]
fn servers_and_search_domains_of_the_file_are_used() {
    let (first, second) = (Ipv4Addr::new(93, 184, 216, 34), Ipv4Addr::new(93, 184, 216, 35));
    let project = Project::new(&file(serve(first)));
    // Another author's file may not have queries sent to this host.
    project.run(&["up", "-d", "--wait"]).exits(3).says("looks up names at the server").says("127.0.0.1:");
    project.ok(&["trust", "--yes"]);
    project.ok(&["up", "-d", "--wait"]);
    let resolv_conf = project.exec("box", &["cat", "/etc/resolv.conf"]);
    assert!(resolv_conf.contains("\nsearch corp.example"), "{resolv_conf}");

    for name in ["db", "db.corp.example", "elsewhere.example"] {
        let answer = look_up(&project, name);
        assert!(answer.contains(&first.to_string()), "{name}: {answer}");
    }
    // The rules allow no other name, whoever would answer.
    let refused = look_up(&project, "other.example");
    assert!(refused.contains("REFUSED") && !refused.contains("93.184"), "{refused}");
    // A resolver that adds the domain itself goes on with the name as it is.
    let searched = look_up(&project, "other.corp.example");
    assert!(searched.contains("NXDOMAIN") && !searched.contains("93.184"), "{searched}");

    // Another server takes effect without a restart, and answers of the first one are forgotten.
    let boot = project.boot_id("box");
    project.write("Sandboxfile", &file(serve(second)));
    project.ok(&["trust", "--yes"]);
    project.ok(&["up", "-d", "--wait"]).says("network.dns.servers");
    assert_eq!(project.boot_id("box"), boot);
    let answer = look_up(&project, "db");
    assert!(answer.contains(&second.to_string()) && !answer.contains(&first.to_string()), "{answer}");

    // Another search domain needs a restart.
    project.write("Sandboxfile", &file(serve(second)).replace("\"corp.example\" }", "\"lab.example\" }"));
    project.ok(&["trust", "--yes"]);
    project.ok(&["up", "-d", "--wait"]);
    assert_ne!(project.boot_id("box"), boot);
    assert!(project.exec("box", &["cat", "/etc/resolv.conf"]).contains("\nsearch lab.example"));
    project.down();
}
