//! The guest kernel's network features for firewall tools and container engines.

use std::fs;
use std::path::Path;
use std::process::Command;
use tests::Project;

const TOOLS: [&str; 8] = [
    "/usr/bin/getent",
    "/usr/sbin/ip",
    "/usr/sbin/ip6tables-legacy",
    "/usr/sbin/ip6tables-nft",
    "/usr/sbin/ipset",
    "/usr/sbin/iptables-legacy",
    "/usr/sbin/iptables-nft",
    "/usr/sbin/nft",
];
/// The matches and targets of iptables, which it loads by name.
const PLUGINS: &str = "/usr/lib/x86_64-linux-gnu/xtables";

/// Commands that must succeed, one a line, in this order.
const COMMANDS: &str = r"
getent hosts $(hostname)
iptables-nft -A INPUT -p tcp --dport 9 -j REJECT
iptables-nft -A INPUT -p tcp --dport 9 -j REJECT --reject-with tcp-reset
iptables-nft -t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080
iptables-nft -A INPUT -p tcp --dport 9 -j LOG --log-prefix seen
iptables-nft -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
iptables-nft -A INPUT -m limit --limit 5/min -j ACCEPT
iptables-nft -A INPUT -p tcp -m multiport --dports 80,443 -j ACCEPT
iptables-nft -A OUTPUT -m owner --uid-owner 0 -j ACCEPT
iptables-nft -A INPUT -m mark --mark 7 -j ACCEPT
iptables-nft -A INPUT -m statistic --mode random --probability 0.5 -j ACCEPT
iptables-nft -t raw -A PREROUTING -p tcp --dport 9 -j ACCEPT
ip6tables-nft -A INPUT -p tcp --dport 9 -j REJECT
ipset create addresses hash:ip && ipset add addresses 192.0.2.1
ipset create networks hash:net && ipset add networks 192.0.2.0/24
iptables-nft -A OUTPUT -m set --match-set addresses dst -j ACCEPT
iptables-nft -A OUTPUT -m set --match-set networks dst -j ACCEPT
iptables-legacy -A INPUT -p tcp --dport 9 -j REJECT
iptables-legacy -A INPUT -p tcp --dport 9 -j LOG
iptables-legacy -A INPUT -m limit --limit 5/min -j ACCEPT
iptables-legacy -A INPUT -p tcp -m multiport --dports 80,443 -j ACCEPT
iptables-legacy -A OUTPUT -m owner --uid-owner 0 -j ACCEPT
iptables-legacy -A OUTPUT -m set --match-set networks dst -j ACCEPT
iptables-legacy -t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080
iptables-legacy -t raw -A PREROUTING -p tcp --dport 9 -j ACCEPT
iptables-legacy -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
iptables-legacy -t mangle -A PREROUTING -p tcp --dport 9 -j MARK --set-mark 7
iptables-legacy -A INPUT -m mark --mark 7 -j ACCEPT
ip6tables-legacy -A INPUT -p tcp --dport 9 -j REJECT
ip6tables-legacy -t nat -A POSTROUTING -j MASQUERADE
ip6tables-legacy -t raw -A PREROUTING -p tcp --dport 9 -j ACCEPT
ip6tables-legacy -t mangle -A PREROUTING -p tcp --dport 9 -j ACCEPT
nft add table inet t
nft add chain inet t in '{ type filter hook input priority 0; }'
nft add rule inet t in tcp dport 9 reject
nft add rule inet t in tcp dport 9 reject with tcp reset
nft add rule inet t in limit rate 5/minute accept
nft add rule inet t in tcp dport 9 log prefix seen
nft add chain inet t pre '{ type filter hook prerouting priority 0; }'
nft add rule inet t pre fib saddr . iif oif missing drop
nft add rule inet t pre fib daddr type local accept
nft add table ip n
nft add chain ip n pre '{ type nat hook prerouting priority 0; }'
nft add rule ip n pre tcp dport 80 redirect to :8080
test -e /proc/sys/net/bridge/bridge-nf-call-iptables
ip link add parent type dummy && ip link set parent up
ip link add macvlan0 link parent type macvlan mode bridge
ip link add parent2 type dummy && ip link set parent2 up
ip link add ipvlan0 link parent2 type ipvlan mode l2
ip link add vxlan0 type vxlan id 42 dstport 4789 dev parent2
";

/// Copies files of this host and their libraries to the same paths of the image.
fn install(image: &Path, files: &[String]) {
    let ldd = Command::new("ldd").args(files).output().expect("ldd is part of every C library");
    let listed = String::from_utf8_lossy(&ldd.stdout);
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
    for file in files.iter().map(String::as_str).chain(libraries) {
        let to = image.join(file.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("a file lies in a folder")).expect("a folder can be made");
        // A copy would follow the image's own links.
        let _ = fs::remove_file(&to);
        fs::copy(file, &to).unwrap_or_else(|error| panic!("cannot copy {file}: {error}"));
    }
}

#[test]
fn the_kernel_supports_firewall_tools_and_container_networks() {
    let project = Project::new(
        r#"
project "firewall"
sandbox "fw" {
    image "./image"
    memory "192M"
    network default="deny"
}
"#,
    );
    let image = project.own_image();
    let plugins = fs::read_dir(PLUGINS).unwrap_or_else(|error| {
        panic!("cannot read {PLUGINS}: {error}: apt-get install iptables ipset nftables iproute2")
    });
    let plugins = plugins.map(|entry| entry.expect("a folder can be read").path().display().to_string());
    let files: Vec<_> = TOOLS.iter().map(|&tool| tool.to_owned()).chain(plugins).collect();
    install(&image, &files);
    fs::write(image.join("commands"), COMMANDS.trim_start()).expect("the image can be written to");
    project.up();
    let run = "export PATH=/usr/sbin:/usr/bin:/sbin:/bin\n\
               while read -r line; do\n\
               out=$(sh -c \"$line\" 2>&1 </dev/null) || echo \"$line: exit code $?: $out\"\n\
               done </commands; echo done";
    assert_eq!(project.exec("fw", &["sh", "-c", run]), "done", "these commands failed");
    project.down();
}
