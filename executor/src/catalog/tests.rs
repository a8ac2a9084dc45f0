use super::*;
use executor_net::{Family, Pools};
use schemas::digest::Digest;
use schemas::name::{ProjectName, SandboxId, SandboxName, full_name};
use schemas::plan::StepId;
use schemas::spec::{Definition, ImageReference, PinnedImage, RestartPolicy, Role, SandboxSpec};

fn catalog() -> (tempfile::TempDir, Catalog) {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&folder.path().join("catalog.db")).unwrap();
    (folder, catalog)
}

impl Catalog {
    /// Lists the steps that an interrupted msb has begun.
    pub(crate) fn open_steps(&self, project: &ProjectName) -> Vec<String> {
        let sql = "SELECT step FROM operations WHERE project = ?1 AND ended IS NULL ORDER BY id";
        self.query(sql, [project.as_str()], "read the journal", |row| row.get(0)).unwrap()
    }
}

fn row(name: &str) -> SandboxRow {
    let project = ProjectName::new("shop").unwrap();
    let name = SandboxName::new(name).unwrap();
    let definition = Definition {
        env: [("A".to_owned(), "ü".to_owned())].into(),
        restart: RestartPolicy::OnFailure { max: Some(3), window_ms: None },
        ..Definition::with_defaults(Role::Service)
    };
    let image = PinnedImage {
        reference: ImageReference::Local { path: "/srv/image".to_owned() },
        digest: Digest::of_bytes(b"image"),
    };
    SandboxRow {
        id: SandboxId::derive(&project, &name, 1),
        project,
        name,
        generation: 1,
        spec: SandboxSpec { image, definition },
        created: false,
        should_run: false,
        hook_done: false,
    }
}

#[test]
fn a_sandbox_is_recorded_made_wanted_and_forgotten() {
    let (_folder, catalog) = catalog();
    let mut web = row("web");
    catalog.begin_sandbox(&web).unwrap();
    web.spec.definition.memory_mib += 1;
    catalog.begin_sandbox(&web).unwrap();
    assert_eq!(
        catalog.sandboxes(None).unwrap().sandboxes,
        [web.clone()],
        "its making goes on as now declared"
    );
    catalog.finish_sandbox(&web.id).unwrap();
    catalog.set_should_run(&web.id, true).unwrap();
    catalog.set_hook_done(&web.id, true).unwrap();
    web.spec.definition.cpus = 2;
    catalog.set_spec(&web.id, &web.spec).unwrap();
    (web.created, web.should_run, web.hook_done) = (true, true, true);
    assert_eq!(catalog.sandboxes(Some(&web.project)).unwrap().sandboxes, [web.clone()]);
    assert_eq!(catalog.sandboxes(Some(&ProjectName::new("other").unwrap())).unwrap().sandboxes, []);
    catalog.forget_sandbox(&web.id).unwrap();
    catalog.forget_sandbox(&web.id).unwrap();
    assert_eq!(catalog.sandboxes(None).unwrap().sandboxes, []);
}

#[test]
fn the_journal_shows_what_was_cut_off() {
    let (_folder, catalog) = catalog();
    let project = ProjectName::new("shop").unwrap();
    let [image, web] = ["sandbox/web", "start/web"].map(|text| text.parse::<StepId>().unwrap());
    let begun = catalog.write_operations(&project, &[], &[&image]).unwrap();
    catalog.write_operations(&project, &[(begun[0], "added")], &[&web]).unwrap();
    assert_eq!(catalog.open_steps(&project), [web.to_string()]);
    let other = ProjectName::new("other").unwrap();
    assert!(catalog.open_steps(&other).is_empty());
    catalog.settle_operations(&other).unwrap();
    assert_eq!(catalog.open_steps(&project).len(), 1, "another project settles its own");
    catalog.settle_operations(&project).unwrap();
    assert!(catalog.open_steps(&project).is_empty());
}

#[test]
fn image_sources_are_remembered() {
    let (_folder, catalog) = catalog();
    assert_eq!(catalog.image_source("/a").unwrap(), None);
    for contents in [b"1", b"2"] {
        let row = executor_image::Resolved {
            fingerprint: Digest::of_bytes(contents),
            digest: Digest::of_bytes(b"d"),
        };
        catalog.remember_image_source("/a", &row).unwrap();
        assert_eq!(catalog.image_source("/a").unwrap(), Some(row));
    }
}

#[test]
fn a_newer_catalog_is_refused_by_name() {
    let (folder, catalog) = catalog();
    catalog.connection().pragma_update(None, "user_version", 99).unwrap();
    drop(catalog);
    let error = Catalog::open(&folder.path().join("catalog.db")).unwrap_err();
    assert!(matches!(error, CatalogError::Newer { found: 99, .. }), "{error}");
}

#[test]
fn a_folder_leads_to_its_project() {
    let (_folder, catalog) = catalog();
    let folder = std::path::Path::new("/srv/shop");
    assert_eq!(catalog.project_in(folder).unwrap(), None);
    let home = ProjectHome {
        folder: "/srv/shop".into(),
        file: None,
        files: Vec::new(),
        mark: Some("7".into()),
        by_folder: true,
    };
    let [shop, stall] = ["shop", "stall"].map(|name| ProjectName::new(name).unwrap());
    for project in [&shop, &stall] {
        assert_eq!(catalog.project_home(project).unwrap(), None);
        catalog.remember_project(project, &home).unwrap();
        assert_eq!(catalog.project_in(folder).unwrap().as_ref(), Some(project));
    }
    // The one that came before still belongs there.
    assert_eq!(catalog.project_home(&shop).unwrap(), Some(home.clone()));
    assert_eq!(catalog.projects_named_after("7").unwrap(), [shop.clone(), stall.clone()]);
    let elsewhere = ProjectHome {
        folder: "/srv/elsewhere".into(),
        file: None,
        files: vec!["a.kdl".into(), "b.kdl".into()],
        mark: None,
        by_folder: false,
    };
    catalog.remember_project(&shop, &elsewhere).unwrap();
    assert_eq!(catalog.project_home(&shop).unwrap(), Some(elsewhere));
    assert_eq!(catalog.projects_named_after("7").unwrap(), std::slice::from_ref(&stall));
    assert!(!catalog.has_anything_of(&shop).unwrap());
    catalog.begin_sandbox(&row("web")).unwrap();
    assert!(catalog.has_anything_of(&shop).unwrap());
    assert!(!catalog.has_anything_of(&stall).unwrap());
}

/// A sandbox of another project.
fn row_of(project: &str, name: &str) -> SandboxRow {
    let (project, name) =
        (ProjectName::try_from(project.to_owned()).unwrap(), SandboxName::new(name).unwrap());
    SandboxRow { id: SandboxId::derive(&project, &name, 1), project, name, ..row("web") }
}

#[test]
fn two_projects_cannot_have_one_full_name() {
    let (_folder, catalog) = catalog();
    let (first, second) = (row_of("shop", "a-b"), row_of("shop-a", "b"));
    catalog.begin_sandbox(&first).unwrap();
    let error = catalog.begin_sandbox(&second).unwrap_err();
    assert_eq!(error.to_string(), "the name shop-a-b is taken by a sandbox of project shop");
    assert_eq!(catalog.sandboxes(None).unwrap().sandboxes, std::slice::from_ref(&first));
    // To take up the first one again is no clash, nor is a name that is free by now.
    catalog.begin_sandbox(&first).unwrap();
    catalog.forget_sandbox(&first.id).unwrap();
    catalog.begin_sandbox(&second).unwrap();
}

#[test]
fn of_two_processes_that_take_one_full_name_at_once_one_gets_it() {
    let (folder, _catalog) = catalog();
    let path = folder.path().join("catalog.db");
    let rows = [row_of("shop", "a-b"), row_of("shop-a", "b")];
    let taken: Vec<_> = std::thread::scope(|scope| {
        let begun: Vec<_> =
            rows.iter().map(|row| scope.spawn(|| Catalog::open(&path).unwrap().begin_sandbox(row))).collect();
        begun.into_iter().map(|begun| begun.join().unwrap().is_ok()).collect()
    });
    assert!(taken == [true, false] || taken == [false, true], "{taken:?}");
}

#[test]
fn the_name_of_a_sandbox_made_by_flags_is_taken_as_a_full_name() {
    let (_folder, catalog) = catalog();
    let (flags, web) = (row_of("@shop-web", "shop-web"), row("web"));
    catalog.begin_sandbox(&flags).unwrap();
    assert_eq!(catalog.sandboxes(Some(&flags.project)).unwrap().sandboxes, std::slice::from_ref(&flags));
    let error = catalog.begin_sandbox(&web).unwrap_err();
    assert_eq!(error.to_string(), "the name shop-web is taken by a sandbox that was made by flags");
    // And the other way around.
    catalog.forget_sandbox(&flags.id).unwrap();
    catalog.begin_sandbox(&web).unwrap();
    let error = catalog.begin_sandbox(&flags).unwrap_err();
    assert_eq!(error.to_string(), "the name shop-web is taken by a sandbox of project shop");
}

#[test]
fn names_that_clash_in_an_older_catalog_do_not_keep_it_from_being_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    schema::at_version(&path, 7);
    let rows = [row_of("shop", "a-b"), row_of("shop-a", "b"), row_of("shop", "c")];
    for SandboxRow { id, project, name, .. } in &rows {
        let insert = "INSERT INTO sandboxes VALUES (?1, ?2, ?3, 1, 1, '{}', 1, 1, 0)";
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute(insert, [id.as_str(), project.as_str(), name.as_str()]).unwrap();
    }
    let catalog = Catalog::open(&path).unwrap();
    assert_eq!(catalog.sandboxes(None).unwrap().unreadable.len(), 3, "their specs are no specs");
    let error = catalog.begin_sandbox(&row_of("@shop-c", "shop-c")).unwrap_err();
    assert_eq!(error.to_string(), "the name shop-c is taken by a sandbox of project shop");
}

#[test]
fn an_older_catalog_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    schema::at_version(&path, 1);
    let catalog = Catalog::open(&path).unwrap();
    let (folder, project) = (std::path::Path::new("/srv/shop"), ProjectName::new("shop").unwrap());
    let home = ProjectHome {
        folder: folder.display().to_string(),
        file: None,
        files: Vec::new(),
        mark: None,
        by_folder: false,
    };
    catalog.remember_project(&project, &home).unwrap();
    assert_eq!(catalog.project_in(folder).unwrap(), Some(project.clone()));
    assert_eq!(catalog.volumes(&project).unwrap(), []);
}

#[test]
fn an_older_catalog_knows_a_project_s_folder_where_there_is_only_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    schema::at_version(&path, 7);
    let connection = Connection::open(&path).unwrap();
    for (folder, project) in [("/a", "one"), ("/b", "two"), ("/c", "two")] {
        connection.execute("INSERT INTO projects VALUES (?1, ?2)", [folder, project]).unwrap();
    }
    drop(connection);
    let catalog = Catalog::open(&path).unwrap();
    let [one, two] = ["one", "two"].map(|name| ProjectName::new(name).unwrap());
    let home =
        ProjectHome { folder: "/a".into(), file: None, files: Vec::new(), mark: None, by_folder: false };
    assert_eq!(catalog.project_home(&one).unwrap(), Some(home));
    assert_eq!(catalog.project_home(&two).unwrap(), None);
}

#[test]
fn a_row_that_cannot_be_read_is_distinguished_and_can_be_forgotten() {
    let (_folder, catalog) = catalog();
    let [api, db, web] = ["api", "db", "web"].map(row);
    for row in [&api, &db, &web] {
        catalog.begin_sandbox(row).unwrap();
    }
    let damage = |sql: &str, id: &SandboxId| {
        assert_eq!(catalog.connection().execute(sql, [id.as_str()]).unwrap(), 1);
    };
    damage("UPDATE sandboxes SET spec_version = 999 WHERE id = ?1", &api.id);
    damage("UPDATE sandboxes SET spec = '{' WHERE id = ?1", &web.id);
    let found = catalog.sandboxes(None).unwrap();
    assert_eq!(found.sandboxes, [db]);
    let unreadable: Vec<_> = found.unreadable.iter().map(|row| row.identity.name.as_str()).collect();
    assert_eq!(unreadable, ["api", "web"]);
    assert!(found.unreadable[0].reason.contains("version 999"), "{}", found.unreadable[0].reason);
    assert!(matches!(catalog.sandbox(&api.id), Err(CatalogError::Corrupt { .. })));
    for row in [&api, &web] {
        assert!(catalog.is_recorded(&row.id).unwrap());
        catalog.forget_sandbox(&row.id).unwrap();
        assert!(!catalog.is_recorded(&row.id).unwrap());
    }
}

#[test]
fn a_yes_is_for_one_file_until_it_is_taken_back() {
    let (_folder, catalog) = catalog();
    let [first, second] = [b"1", b"2"].map(|text| Digest::of_bytes(text));
    assert_eq!(catalog.trusted_digest("/srv/shop", "Sandboxfile").unwrap(), None);
    catalog.trust("/srv/shop", "Sandboxfile", &first).unwrap();
    catalog.trust("/srv/shop", "other.yaml", &first).unwrap();
    catalog.trust("/srv/stall", "Sandboxfile", &first).unwrap();
    catalog.trust("/srv/shop", "Sandboxfile", &second).unwrap();
    assert_eq!(catalog.trusted_digest("/srv/shop", "Sandboxfile").unwrap(), Some(second));
    assert_eq!(catalog.trusted_digest("/srv/shop", "other.yaml").unwrap(), Some(first.clone()));
    assert_eq!(catalog.revoke_trust("/srv/shop").unwrap(), 2);
    assert_eq!(catalog.revoke_trust("/srv/shop").unwrap(), 0);
    let left: Vec<_> = catalog.trusted().unwrap().into_iter().map(|row| (row.folder, row.digest)).collect();
    assert_eq!(left, [("/srv/stall".to_owned(), first)]);
}

fn pools(ipv4: &str, ipv6: &str) -> Pools {
    Pools { ipv4: ipv4.parse().unwrap(), ipv6: ipv6.parse().unwrap() }
}

#[test]
fn addresses_are_kept_and_used_again_after_a_removal() {
    let (_folder, catalog) = catalog();
    let [a, b, c] = ["a", "b", "c"].map(row);
    for row in [&a, &b, &c] {
        catalog.begin_sandbox(row).unwrap();
    }
    let tiny = pools("10.0.0.0/29", "fd00::/48");
    let address = |row: &SandboxRow, pools| {
        let found = catalog.network_addresses(&row.id, pools).unwrap();
        found.map(|addresses| addresses.guest_ipv4.to_string())
    };
    assert_eq!(address(&a, tiny).as_deref(), Ok("10.0.0.2"));
    assert_eq!(address(&b, tiny).as_deref(), Ok("10.0.0.6"));
    assert_eq!(address(&a, tiny).as_deref(), Ok("10.0.0.2"));
    assert_eq!(address(&c, tiny), Err(Family::Ipv4));
    assert_eq!(address(&c, pools("10.1.0.0/16", "fd00::/63")), Err(Family::Ipv6));
    catalog.forget_sandbox(&a.id).unwrap();
    assert_eq!(address(&c, tiny).as_deref(), Ok("10.0.0.2"));
    assert_eq!(address(&b, tiny).as_deref(), Ok("10.0.0.6"));
}

#[test]
fn pools_that_overlap_give_no_piece_twice() {
    let (_folder, catalog) = catalog();
    let rows: Vec<_> = (0..6).map(|number| row(&format!("s{number}"))).collect();
    let overlapping = ["10.0.0.0/28", "10.0.0.0/24", "10.0.0.4/30"].map(|ipv4| pools(ipv4, "fd00::/60"));
    let mut given = std::collections::BTreeSet::new();
    for (row, pools) in rows.iter().zip(overlapping.into_iter().cycle()) {
        catalog.begin_sandbox(row).unwrap();
        match catalog.network_addresses(&row.id, pools).unwrap() {
            Ok(addresses) => {
                assert!(
                    pools.ipv4.contains(&addresses.guest_ipv4) && pools.ipv6.contains(&addresses.guest_ipv6)
                );
                assert!(given.insert(addresses.guest_ipv4) && given.insert(addresses.gateway_ipv4));
            }
            // Its one piece is the second of the others.
            Err(family) => assert_eq!((family, pools.ipv4.prefix_len()), (Family::Ipv4, 30)),
        }
    }
    assert_eq!(given.len(), 2 * 4);
    // Who moves to another pool gives its piece up.
    let moved = catalog.network_addresses(&rows[0].id, pools("10.9.0.0/30", "fd00:9::/64")).unwrap().unwrap();
    assert_eq!(
        (moved.guest_ipv4.to_string().as_str(), moved.guest_ipv6.to_string().as_str()),
        ("10.9.0.2", "fd00:9::2")
    );
    let next = catalog.network_addresses(&rows[2].id, pools("10.0.0.0/30", "fd00::/64")).unwrap().unwrap();
    assert_eq!(
        (next.guest_ipv4.to_string().as_str(), next.guest_ipv6.to_string().as_str()),
        ("10.0.0.2", "fd00::2")
    );
}

#[test]
fn the_slots_of_an_earlier_version_are_pieces_now() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    super::schema::at_version(&path, 6);
    let a = row("a");
    {
        let connection = rusqlite::Connection::open(&path).unwrap();
        let insert = "INSERT INTO sandboxes VALUES (?1, 'shop', 'a', 1, 1, '{}', 1, 1, 0)";
        connection.execute(insert, [a.id.as_str()]).unwrap();
        connection.execute("INSERT INTO network_slots VALUES (300, ?1)", [a.id.as_str()]).unwrap();
    }
    let catalog = Catalog::open(&path).unwrap();
    let addresses = catalog.network_addresses(&a.id, Pools::default()).unwrap();
    assert_eq!(addresses, Ok(Pools::default().addresses(300).unwrap()));
}

#[test]
fn many_may_open_a_new_catalog_at_once() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.db");
        std::thread::scope(|scope| {
            let opened: Vec<_> = (0..8).map(|_| scope.spawn(|| Catalog::open(&path).map(drop))).collect();
            for opened in opened {
                opened.join().unwrap().unwrap();
            }
        });
    }
}

#[test]
fn a_name_finds_the_projects_own_and_the_full_name_and_nothing_else() {
    let (_folder, catalog) = catalog();
    let of = |project: &str, name: &str| {
        let (project, name) = (ProjectName::new(project).unwrap(), SandboxName::new(name).unwrap());
        let id = SandboxId::derive(&project, &name, 1);
        SandboxRow { id, project, name, ..row("web") }
    };
    let rows = [of("a", "b-c"), of("shop", "a-b-c"), of("shop", "web"), of("other", "web")];
    rows.iter().for_each(|row| catalog.begin_sandbox(row).unwrap());
    let named = |project: Option<&str>, name: &str| {
        let project = project.map(|name| ProjectName::new(name).unwrap());
        let found = catalog.sandboxes_named(project.as_ref(), name).unwrap().sandboxes;
        found.iter().map(|row| full_name(&row.project, &row.name)).collect::<Vec<_>>()
    };
    assert_eq!(named(Some("shop"), "web"), ["shop-web"]);
    assert_eq!(named(None, "web"), Vec::<String>::new());
    assert_eq!(named(None, "other-web"), ["other-web"]);
    assert_eq!(named(Some("shop"), "a-b-c"), ["a-b-c", "shop-a-b-c"]);
    assert_eq!(named(Some("shop"), "nobody"), Vec::<String>::new());
}
