use super::*;
use crate::name::{ProjectName, SandboxName, VolumeName};
use crate::spec::{
    Contents, Definition, ExtraCa, GuestFile, HostPerms, Mount, MountSource, Network, NetworkDefault, Role,
    Secret, SecretSource, StatVirt, Sync,
};

fn mount(source: MountSource) -> Mount {
    Mount { readonly: true, ..Mount::of(source) }
}

fn host(path: &str) -> Mount {
    mount(MountSource::Host { path: path.to_owned() })
}

fn file(from: Option<&str>) -> GuestFile {
    let from = from.map(str::to_owned);
    GuestFile { from, contents: Contents::new(*b"contents"), mode: 0o644, uid: 0, gid: 0 }
}

fn secret(from: SecretSource) -> Secret {
    Secret::new(from, BTreeSet::new())
}

fn sandbox(name: &str, image: &str, change: impl FnOnce(&mut Definition)) -> Sandbox {
    let mut definition = Definition::with_defaults(Role::Service);
    change(&mut definition);
    let image = ImageReference::Local { path: image.to_owned() };
    Sandbox::new(SandboxName::new(name).unwrap(), None, BTreeSet::new(), image, definition)
}

fn model(sandboxes: Vec<Sandbox>) -> Model {
    Model::new(ProjectName::new("shop").unwrap(), BTreeMap::new(), sandboxes)
}

/// Resolves links on a host whose only links are `/p/link` and the dangling `/p/dangling`.
fn leads(path: &str) -> ResolvedPath {
    match path.strip_prefix("/p/link") {
        Some(rest) => ResolvedPath::To(PathBuf::from(format!("/home/ann/.ssh{rest}"))),
        None if path == "/p/dangling" => ResolvedPath::Unknown,
        None => ResolvedPath::To(PathBuf::from(path)),
    }
}

fn described(sandboxes: Vec<Sandbox>, files: &[&str]) -> Vec<String> {
    let files: Vec<_> = files.iter().map(|file| (*file).to_owned()).collect();
    let home = Some(Path::new("/home/ann"));
    let reached = outside_folder(&model(sandboxes), &files, Path::new("/p"), home, &leads);
    reached.iter().map(HostAccess::describe).collect()
}

#[test]
fn paths_in_the_folder_are_no_access() {
    let inside = sandbox("web", "/p/image", |definition| {
        definition.mounts.insert("/data".to_owned(), host("/p/data"));
        definition.mounts.insert("/all".to_owned(), host("/p"));
        let volume = MountSource::Volume { name: VolumeName::new("cache").unwrap() };
        definition.mounts.insert("/cache".to_owned(), mount(volume));
        definition.sync.insert("/src".to_owned(), Sync { source: "/p/src".to_owned(), ignore: Vec::new() });
        definition.secrets.insert("A".to_owned(), secret(SecretSource::File { path: "/p/key".to_owned() }));
        definition.files.insert("/etc/a".to_owned(), file(Some("/p/a.conf")));
        definition.files.insert("/etc/b".to_owned(), file(None));
    });
    assert_eq!(described(vec![inside], &["/p/common.kdl"]), Vec::<String>::new());
}

#[test]
fn all_else_is_listed_with_its_sandboxes() {
    let web = sandbox("web", "/srv/image", |definition| {
        definition.mounts.insert("/a".to_owned(), host("/etc"));
        definition.mounts.insert("/b".to_owned(), host("/p/link/keys"));
        definition.mounts.insert("/c".to_owned(), host("/p/dangling"));
        // The name of the folder is a prefix of it only.
        definition.mounts.insert("/d".to_owned(), host("/p2"));
        definition.sync.insert("/src".to_owned(), Sync { source: "/src".to_owned(), ignore: Vec::new() });
        definition.files.insert("/etc/x".to_owned(), file(Some("/p/link/key")));
        definition.files.insert("/etc/y".to_owned(), file(Some("/srv/y.conf")));
        let sources = [
            ("A", SecretSource::Env { name: "TOKEN".to_owned() }),
            ("B", SecretSource::File { path: "/root/key".to_owned() }),
            ("C", SecretSource::Command { argv: vec!["pass".to_owned(), "a b".to_owned()] }),
        ];
        definition.secrets.extend(sources.map(|(name, from)| (name.to_owned(), secret(from))));
        let ca = |path: &str| ExtraCa { path: path.to_owned(), hosts: BTreeSet::new() };
        definition.tls.cas = vec![ca("/srv/ca.pem"), ca("/p/ca.pem"), ca("/p/link/ca.pem")];
    });
    let db = sandbox("db", "/srv/image", |_| {});
    assert_eq!(
        described(vec![web, db], &["/p/common.kdl", "/etc/msb.kdl", "/p/link"]),
        [
            "reads the file /etc/msb.kdl",
            "reads the file /p/link, which is /home/ann/.ssh",
            "boots from /srv/image (for db, web)",
            "mounts read-only /etc: a part of this host's system (for web)",
            "mounts read-only /p/dangling, which is an unknown place (for web)",
            "mounts read-only /p/link/keys, which is /home/ann/.ssh/keys: keys and passwords are kept there (for web)",
            "mounts read-only /p2 (for web)",
            "copies the file /p/link/key, which is /home/ann/.ssh/key: keys and passwords are kept there (for web)",
            "copies the file /srv/y.conf (for web)",
            "copies from /src (for web)",
            "takes a secret from the file /root/key (for web)",
            "takes a secret from the variable TOKEN (for web)",
            "runs on this host, for a secret, [\"pass\",\"a b\"] (for web)",
            "reads CA certificates from the file /p/link/ca.pem, which is /home/ann/.ssh/ca.pem (for web)",
            "reads CA certificates from the file /srv/ca.pem (for web)",
        ]
    );
}

#[test]
fn volumes_of_others_are_listed() {
    let web = sandbox("web", "/p/image", |definition| {
        let [name, volume] = ["theirs", "blog-data"].map(|name| VolumeName::new(name).unwrap());
        definition.mounts.insert("/data".to_owned(), mount(MountSource::External { name, volume }));
    });
    assert_eq!(described(vec![web], &[]), ["mounts the volume blog-data (for web)"]);
}

#[test]
fn write_access_and_policies_of_mounts_are_listed() {
    let web = |change: fn(&mut Mount), path: &str| {
        let mut mount = Mount { readonly: false, ..host(path) };
        change(&mut mount);
        let web = sandbox("web", "/p/image", |definition| {
            definition.mounts.insert("/a".to_owned(), mount);
        });
        described(vec![web], &[])
    };
    assert_eq!(web(|_| {}, "/srv"), ["mounts, and may change, /srv (for web)"]);
    let with_modes = [
        "mounts, and may change, /srv (for web)",
        "may set modes of files, or make links, on this host in /srv (for web)",
    ];
    assert_eq!(web(|mount| mount.host_perms = HostPerms::Mirror, "/srv"), with_modes);
    assert_eq!(web(|mount| mount.stat_virt = StatVirt::Relaxed, "/srv"), with_modes);
    assert_eq!(web(|mount| mount.stat_virt = StatVirt::Off, "/srv"), with_modes);
    // Nothing of it has an effect on a read-only mount.
    let readonly =
        |mount: &mut Mount| *mount = Mount { readonly: true, stat_virt: StatVirt::Off, ..mount.clone() };
    assert_eq!(web(readonly, "/srv"), ["mounts read-only /srv (for web)"]);
    // The project's own folder is no access.
    assert_eq!(web(|mount| mount.stat_virt = StatVirt::Off, "/p/src"), Vec::<String>::new());
}

#[test]
fn mounts_of_more_than_a_project_needs_say_so() {
    for (path, exposure) in [
        ("/", Some(": everything on this host")),
        ("/home", Some(": everything in a home folder")),
        ("/home/ann", Some(": everything in a home folder")),
        ("/root", Some(": everything in a home folder")),
        ("/home/ann/.ssh/id_ed25519", Some(": keys and passwords are kept there")),
        ("/home/ann/.config/gcloud", Some(": keys and passwords are kept there")),
        ("/usr/lib", Some(": a part of this host's system")),
        ("/var/run/docker", Some(": a part of this host's system")),
        ("/home/ann/work", None),
        ("/home/ann/.sshd", None),
        ("/srv/data", None),
        ("/tmp", None),
    ] {
        let web = sandbox("web", "/p/image", |definition| {
            definition.mounts.insert("/a".to_owned(), host(path));
        });
        let exposure = exposure.unwrap_or_default();
        assert_eq!(described(vec![web], &[]), [format!("mounts read-only {path}{exposure} (for web)")]);
    }
}

#[test]
fn networks_beyond_public_addresses_and_open_ports_are_listed() {
    let web = |default: NetworkDefault, rules: &[&str], ports: &[&str]| {
        let web = sandbox("web", "/p/image", |definition| {
            let rule = |text: &&str| text.parse().unwrap();
            definition.network =
                Network { default, rules: rules.iter().map(rule).collect(), ..Network::default() };
            definition.ports = ports.iter().map(|port| port.parse().unwrap()).collect();
        });
        described(vec![web], &[])
    };
    let public = [
        "allow@public",
        "allow@example.org:tcp:443",
        "allow@*.example.org",
        "allow@domain=db:tcp:5432",
        "allow@dns",
        "allow@8.8.8.0/24",
        "allow:ingress@any:tcp:80",
        "deny@host",
    ];
    let loopback = ["80:80", "127.0.0.2:81:80", "[::1]:82:80"];
    assert_eq!(web(NetworkDefault::Public, &public, &loopback), Vec::<String>::new());
    for rule in [
        "allow@host:tcp:5432",
        "allow@any",
        "allow:any@private",
        "allow@meta",
        "allow@link-local",
        "allow@10.1.2.3",
        "allow@0.0.0.0/0",
        "allow@[fd00::/8]",
    ] {
        let expected = format!("may connect to more than public addresses: {rule} (for web)");
        assert_eq!(web(NetworkDefault::Deny, &[rule], &[]), [expected]);
    }
    assert_eq!(
        web(NetworkDefault::Allow, &[], &["0.0.0.0:80:80", "[::]:53:53/udp"]),
        [
            "may connect to more than public addresses: allow by default (for web)",
            "publishes to other machines the port 0.0.0.0:80:80 (for web)",
            "publishes to other machines the port [::]:53:53/udp (for web)",
        ]
    );
}

#[test]
fn many_users_are_counted() {
    let many = (0..8).map(|index| sandbox(&format!("w{index}"), "/srv/image", |_| {})).collect();
    assert_eq!(described(many, &[]), ["boots from /srv/image (for w0, w1, w2, w3, w4, … and 3 more)"]);
}

#[test]
fn the_fingerprint_depends_on_files_and_link_targets() {
    let files = [("/p/Sandboxfile".to_owned(), Digest::of_bytes(b"a"))];
    let reach = |leads_to: &str| HostAccess {
        kind: HostAccessKind::Mount,
        value: "/p/link".to_owned(),
        leads_to: Some(leads_to.to_owned()),
        exposure: None,
        sandboxes: BTreeSet::new(),
        paths: BTreeSet::new(),
    };
    let first = fingerprint(&files, &[reach("/srv")]);
    assert_eq!(first, fingerprint(&files, &[reach("/srv")]));
    assert_ne!(first, fingerprint(&files, &[reach("/root/.ssh")]));
    let changed = [("/p/Sandboxfile".to_owned(), Digest::of_bytes(b"b"))];
    assert_ne!(first, fingerprint(&changed, &[reach("/srv")]));
    let moved = [("/q/Sandboxfile".to_owned(), Digest::of_bytes(b"a"))];
    assert_ne!(first, fingerprint(&moved, &[reach("/srv")]));
}

#[test]
fn each_access_has_the_paths_of_its_properties() {
    let app = sandbox("app", "/srv/image", |definition| {
        definition.mounts.insert("/a.b".to_owned(), host("/srv/data"));
        definition.mounts.insert("/c".to_owned(), host("/srv/data"));
        definition.files.insert("/etc/a.b".to_owned(), file(Some("/srv/a.conf")));
        definition.sync.insert("/src".to_owned(), Sync { source: "/srv/src".to_owned(), ignore: Vec::new() });
        definition
            .secrets
            .insert("KEY".to_owned(), secret(SecretSource::Env { name: "HOST_KEY".to_owned() }));
    });
    let web = sandbox("web", "/srv/image", |_| {});
    let reached = outside_folder(
        &model(vec![app, web]),
        &["/srv/common.kdl".to_owned()],
        Path::new("/p"),
        None,
        &leads,
    );
    let paths: Vec<Vec<_>> =
        reached.iter().map(|reach| reach.paths.iter().map(String::as_str).collect()).collect();
    assert_eq!(
        paths,
        [
            vec!["include./srv/common.kdl"],
            vec!["app.image", "web.image"],
            vec!["app.mount./a.b", "app.mount./c"],
            vec!["app.file./etc/a.b"],
            vec!["app.sync./src"],
            vec!["app.secret.KEY.from"],
        ]
    );
}
