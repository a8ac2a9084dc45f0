//! A bare VM like a sandbox's on another network.

use crate::Result;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tests::installation;
use tests::process::Process;

/// Looks up numbered names with a prefix and prints the time of each lookup, in microseconds.
const ASK_SOURCE: &str = r#"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

int main(int argc, char **argv) {
    char line[256], server[64] = "";
    FILE *file = fopen("/etc/resolv.conf", "r");
    while (file && !server[0] && fgets(line, sizeof line, file)) sscanf(line, "nameserver %63s", server);
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(53) };
    if (argc != 3 || inet_pton(AF_INET, server, &to.sin_addr) != 1) return 2;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct timeval patience = { .tv_sec = 5 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) return 3;
    for (int i = 0, count = atoi(argv[1]); i < count; i++) {
        unsigned char question[512] = { i >> 8, i, 1, 0, 0, 1 }, answer[2048];
        int at = 12, length = snprintf(line, sizeof line, "%s%d", argv[2], i);
        const char *labels[] = { line, "example", "org" };
        for (int l = 0; l < 3; l++, at += length) {
            length = strlen(labels[l]);
            question[at++] = length;
            memcpy(question + at, labels[l], length);
        }
        memcpy(question + at, "\0\0\1\0\1", 5);
        double began = now();
        send(fd, question, at + 5, 0);
        if (recv(fd, answer, sizeof answer, 0) < 12 || memcmp(question, answer, 2)) return 4;
        printf("%.0f\n", now() - began);
    }
    return 0;
}
"#;
const NGINX_CONF: &str = "daemon off; user app app; worker_processes 1; error_log stderr;\n\
events { worker_connections 1024; }\n\
http { access_log off; keepalive_requests 100000; server { listen 80; location / { return 200 \"here\\n\"; } } }\n";
/// Reports when both servers listen: iperf3's port is 0x1451, and it serves one client at a time.
const SERVES: &str = "#!/bin/sh\ngrep -q :1451 /proc/net/tcp6 && wget -q -O /dev/null http://127.0.0.1/\n";
/// The bare VM's init: the network setup of supervisor and agent, then lookups, one for each line of input.
const INIT: &str = r#"#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /run /tmp
exec </dev/console >/dev/console 2>&1
stty -F /dev/ttyS0 -echo -onlcr
ip link set lo up
ip link set eth0 mtu $mtu up
ip address add $address/24 dev eth0
ip route add default via $gateway
echo nameserver $names >/etc/resolv.conf
iperf3 -s -D
nginx -c /nginx.conf &
until serves; do sleep 0.1; done
echo ready
while read -r count prefix; do
    ask "$count" "$prefix"
    echo asked
done
poweroff -f
"#;

/// The network of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// `-netdev user`.
    User,
    /// A passt process, connected with `-netdev stream`.
    Passt,
}

impl Wiring {
    /// Its name in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Passt => "passt",
        }
    }

    /// Its settings in the guest, as its documentation recommends.
    fn words(self) -> &'static str {
        match self {
            Self::User => "mtu=1500 address=10.0.2.15 gateway=10.0.2.2 names=10.0.2.3",
            Self::Passt => "mtu=65520 address=10.0.9.15 gateway=10.0.9.2 names=10.0.9.3",
        }
    }

    fn netdev(self, folder: &Path) -> String {
        match self {
            Self::User => {
                "user,id=network,hostfwd=tcp:127.0.0.1:5201-:5201,hostfwd=tcp:127.0.0.1:8080-:80".to_owned()
            }
            Self::Passt => {
                format!("stream,id=network,server=off,addr.type=unix,addr.path={}", socket(folder).display())
            }
        }
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("passt.socket")
}

/// A running VM. Dropping it ends it.
pub struct Machine {
    wiring: Wiring,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Machine {
    /// Starts a VM like a sandbox's in a network namespace of its own.
    pub fn start(
        like: Process,
        wiring: Wiring,
        kernel: &Path,
        initramfs: &Path,
        folder: &Path,
    ) -> Result<Self> {
        let mut line = vec!["qemu-system-x86_64".to_owned()];
        line.extend(arguments(like, wiring, kernel, initramfs, folder)?);
        let passt = format!(
            "passt --quiet --foreground --one-off --socket {socket} --address 10.0.9.15 --netmask 24 \
             --gateway 10.0.9.2 --dns-forward 10.0.9.3 --tcp-ports 127.0.0.1/5201,8080:80 >&2 & passt=$!; \
             until [ -S {socket} ]; do kill -0 $passt || exit 1; sleep 0.05; done",
            socket = socket(folder).display(),
        );
        let script = match wiring {
            Wiring::User => "exec \"$@\"".to_owned(),
            Wiring::Passt => format!("{passt}; exec \"$@\""),
        };
        let mut command = Command::new(installation::root().join("tests/outside"));
        command.arg(folder).args(["sh", "-c", &script, "sh"]).args(line);
        let log = fs::File::create(folder.join("machine.log"))?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn()?;
        let (stdin, stdout) =
            (child.stdin.take().ok_or("no stdin")?, child.stdout.take().ok_or("no stdout")?);
        let mut machine = Self { wiring, child, stdin, stdout: BufReader::new(stdout) };
        machine.until("ready")?;
        Ok(machine)
    }

    /// Its network.
    pub fn wiring(&self) -> Wiring {
        self.wiring
    }

    /// Its process, in the namespace of its ports.
    pub fn process(&self) -> Process {
        Process::find(self.child.id().cast_signed()).expect("it runs")
    }

    /// Returns the output of `ask` inside.
    pub fn ask(&mut self, count: &str, prefix: &str) -> Result<String> {
        writeln!(self.stdin, "{count} {prefix}")?;
        self.until("asked")
    }

    /// Returns the console output up to such a line.
    fn until(&mut self, end: &str) -> Result<String> {
        let mut said = String::new();
        loop {
            let mut line = String::new();
            if self.stdout.read_line(&mut line)? == 0 {
                return Err(format!("the bare machine ended: {said}").into());
            }
            if line.trim() == end {
                return Ok(said);
            }
            said.push_str(&line);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the arguments of a sandbox's QEMU with another kernel, network and console, and without disks.
fn arguments(
    like: Process,
    wiring: Wiring,
    kernel: &Path,
    initramfs: &Path,
    folder: &Path,
) -> Result<Vec<String>> {
    const DROPPED: [&str; 6] = ["-sandbox", "-add-fd", "-chardev", "-blockdev", "-serial", "-name"];
    let line = fs::read_to_string(format!("/proc/{}/cmdline", like.pid))?;
    let mut words = line.split('\0').skip(1).filter(|word| !word.is_empty()).peekable();
    let mut arguments = Vec::new();
    while let Some(word) = words.next() {
        let value = words.next_if(|next| !next.starts_with('-'));
        let Some(value) = value else {
            arguments.push(word.to_owned());
            continue;
        };
        let value = match (word, value) {
            ("-kernel", _) => kernel.display().to_string(),
            ("-initrd", _) => initramfs.display().to_string(),
            // Other networks need checksums, and so do kernels that are not built for msb's link.
            ("-append", value) => format!("{value} virtio_net.csum=0 {}", wiring.words()),
            ("-netdev", _) => wiring.netdev(folder),
            ("-device", value) if !value.contains("-net-") && !value.contains("-rng-") => continue,
            (word, _) if DROPPED.contains(&word) => continue,
            (_, value) => value.to_owned(),
        };
        arguments.extend([word.to_owned(), value]);
    }
    arguments.extend(["-serial", "stdio"].map(str::to_owned));
    if !arguments.iter().any(|word| word.starts_with("virtio-net-device")) {
        return Err("the sandbox's machine is none of QEMU's, or has no network".into());
    }
    Ok(arguments)
}

/// Creates the common image: nginx, iperf3 and `ask`.
pub fn make_image(from: &Path, image: &Path) -> Result<()> {
    fs::rename(from, image)?;
    fs::write(image.join("nginx.conf"), NGINX_CONF)?;
    fs::write(image.with_file_name("ask.c"), ASK_SOURCE)?;
    fs::write(image.with_file_name("serves"), SERVES)?;
    // Loader and libraries keep their paths.
    let script = r#"
cd "$1"
cc -static -O2 -s -o usr/bin/ask ../ask.c
install -m 0755 ../serves usr/bin/serves
iperf3=$(command -v iperf3)
mkdir -p usr/bin
cp -L "$iperf3" usr/bin/iperf3
ldd "$iperf3" | grep -o '/[^ ):]*' | while read -r file; do
    mkdir -p ".$(dirname "$file")"
    cp -L "$file" ".$file"
done
"#;
    shell(script, &[image])
}

/// Returns the image as an initramfs with another init.
pub fn initramfs(image: &Path, folder: &Path) -> Result<PathBuf> {
    let target = folder.join("network.cpio");
    let init = folder.join("init");
    fs::write(&init, INIT)?;
    let script = r#"
cp -a "$1" "$3/root"
install -m 0755 "$2" "$3/root/init"
mkdir -p "$3/root/proc" "$3/root/sys" "$3/root/dev"
cd "$3/root"
find . | cpio -o -H newc --quiet >"$4"
"#;
    shell(script, &[image, &init, folder, &target])?;
    Ok(target)
}

fn shell(script: &str, arguments: &[&Path]) -> Result<()> {
    let output = Command::new("sh").args(["-euc", script, "sh"]).args(arguments).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{script}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}
