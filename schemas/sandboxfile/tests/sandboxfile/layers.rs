//! Merging and expansion: includes, overlays, `like`, replicas, variables.

use super::{FakeHost, input, load_kdl, load_yaml, source};
use sandboxfile::{EnvFile, Input, Source, Variables, load};
use schemas::model::{Model, Sandbox};
use schemas::name::SandboxName;
use schemas::spec::{HealthSetting, RestartPolicy};

fn overlaid(texts: &[(&str, &str)]) -> Model {
    let sources: Vec<Source<'_>> = texts.iter().map(|(name, text)| source(name, text.as_bytes())).collect();
    let input = Input { sources, ..input("Sandboxfile", b"") };
    load(&input, &FakeHost).unwrap_or_else(|report| panic!("{:#?}", report.diagnostics())).model
}

fn sandbox<'a>(model: &'a Model, name: &str) -> &'a Sandbox {
    model.sandbox(&SandboxName::new(name).unwrap()).unwrap()
}

const BASE: &str = r#"
project "shop"
sandbox "web" {
    image "./image"
    memory "128M"
    env { A 1; B 2 }
    start "sleep" "1"
    script "hello" "echo hello"
    healthcheck { exec "true"; retries 5 }
    depends-on "db"
    labels { tier "front" }
}
sandbox "db" { image "./image" }
"#;

#[test]
fn an_overlay_replaces_scalars_and_lists_and_merges_maps() {
    let over = r#"
        sandbox "web" {
            memory "256M"
            env { B "two"; C 3 }
            start "sleep" "2" "3"
            script "bye" "echo bye"
            healthcheck { retries 7 }
            depends-on "db" condition="started"
        }
        sandbox "extra" { image "./image" }
    "#;
    let yaml = "
sandboxes:
  web:
    memory: 256M
    env: { B: two, C: 3 }
    start: [sleep, '2', '3']
    scripts: { bye: echo bye }
    healthcheck: { retries: 7 }
    depends_on: { db: { condition: started } }
  extra: { image: ./image }
";
    let model = overlaid(&[("Sandboxfile", BASE), ("over.kdl", over)]);
    assert_eq!(model, overlaid(&[("Sandboxfile", BASE), ("over.yaml", yaml)]), "spellings mix");
    assert_eq!(model.project().as_str(), "shop");
    assert_eq!(model.sandboxes().len(), 3);
    let web = sandbox(&model, "web").definition();
    assert_eq!(web.memory_mib, 256);
    assert_eq!(web.env, [("A", "1"), ("B", "two"), ("C", "3")].map(|(k, v)| (k.into(), v.into())).into());
    assert_eq!(web.start.as_ref().unwrap().join(" "), "sleep 2 3");
    assert_eq!(web.scripts.len(), 2);
    let check = web.health_check().unwrap();
    assert_eq!((check.retries, check.exec.join(" ").as_str()), (7, "true"));
    assert_eq!(web.labels["tier"], "front");
}

#[test]
fn an_overlay_disables_a_health_check_and_enables_one() {
    let setting = |base: &str, over: &str| {
        let base = format!("sandbox \"web\" {{ image \"./image\"; {base} }}");
        let over = format!("sandbox \"web\" {{ {over} }}");
        let model = overlaid(&[("Sandboxfile", &base), ("over.kdl", &over)]);
        sandbox(&model, "web").definition().healthcheck.clone()
    };
    let check = r#"healthcheck { exec "true"; retries 5 }"#;
    assert_eq!(setting(check, "healthcheck disable=#true"), Some(HealthSetting::Disabled));
    let own = setting("healthcheck disable=#true", check);
    assert!(matches!(own, Some(HealthSetting::Check(check)) if check.retries == 5));
    assert_eq!(setting(check, "healthcheck disable=#false"), setting(check, ""));
    assert_eq!(setting("", "healthcheck disable=#true"), Some(HealthSetting::Disabled));
}

#[test]
fn included_files_are_lower_layers() {
    let text = r#"
        include "./common/base.kdl"
        sandbox "base" { env { B "two" } }
        sandbox "web" { like "base"; cpus 2 }
    "#;
    let model = overlaid(&[("Sandboxfile", text)]);
    assert_eq!(model.project().as_str(), "project", "an included file names no project");
    assert_eq!(model.volumes().len(), 1);
    let base = sandbox(&model, "base").definition();
    assert_eq!((base.memory_mib, base.env["A"].as_str(), base.env["B"].as_str()), (1024, "1", "two"));
    assert_eq!(
        sandbox(&model, "base").image().to_string(),
        "/project/common/image",
        "its paths start from its own folder"
    );
    assert_eq!(sandbox(&model, "web").definition().memory_mib, 1024);
    let yaml = "include: [./common/base.kdl]\nsandboxes:\n  base: { env: { B: two } }\n  web: { like: base, cpus: 2 }\n";
    assert_eq!(model, overlaid(&[("Sandboxfile.yaml", yaml)]));
}

#[test]
fn like_inherits_some_properties() {
    let text = r#"
        sandbox "a" {
            image "./image"; memory "1G"; cpus 3; workdir "/w"; user "u"; shell "/bin/bash"
            env { X 1; Y 2 }
            script "serve" "echo $X"
            start "serve"
            depends-on "c"
            healthcheck { exec "true" }
            restart "always"
            labels { l 1 }
            replicas 2
            profiles "dev"
        }
        job "b" { like "a"; env { Y "two" }; start "serve" }
        sandbox "c" { image "./image" }
        job "d" { like "b"; start "true" }
        sandbox "e" { like "a" }
    "#;
    let model = overlaid(&[("Sandboxfile", text)]);
    let b = sandbox(&model, "b");
    let definition = b.definition();
    assert_eq!((definition.memory_mib, definition.cpus, definition.shell.as_str()), (1024, 3, "/bin/bash"));
    assert_eq!(
        (definition.workdir.as_deref(), definition.user.as_ref().map(|user| user.as_str())),
        (Some("/w"), Some("u"))
    );
    assert_eq!((definition.env["X"].as_str(), definition.env["Y"].as_str()), ("1", "two"));
    assert_eq!(definition.scripts["serve"], "#!/bin/bash\necho $X\n");
    assert!(definition.depends_on.is_empty() && definition.healthcheck.is_none());
    assert!(definition.labels.is_empty() && b.profiles().is_empty() && b.replica().is_none());
    let e = sandbox(&model, "e").definition();
    assert_eq!((&e.start, e.restart), (&None, RestartPolicy::No), "what it does is its own");
    assert_eq!(sandbox(&model, "d").definition().env["Y"], "two", "of the one that it is like, all of it");
    assert!(sandbox(&model, "a-1").profiles().contains("dev"));
}

#[test]
fn replicas_are_sandboxes_of_their_own() {
    let text = r#"
        sandbox "worker" { image "./image"; replicas 3 }
        sandbox "web" { image "./image"; depends-on "worker"; replicas 1 }
    "#;
    let model = load_kdl(text).unwrap();
    let names: Vec<&str> = model.sandboxes().iter().map(|sandbox| sandbox.name().as_str()).collect();
    assert_eq!(names, ["web", "worker-1", "worker-2", "worker-3"]);
    assert_eq!(sandbox(&model, "web").definition().depends_on.len(), 3);
    let family = SandboxName::new("worker").unwrap();
    assert_eq!(model.family(&family).count(), 3);
    let yaml = "sandboxes:\n  worker: { image: ./image, replicas: 3 }\n  web: { image: ./image, depends_on: worker }\n";
    assert_eq!(model, load_yaml(yaml).unwrap());
}

#[test]
fn variables() {
    let text = r#"
        project "${NAME}"
        sandbox "web" {
            image "./image"
            cpus "${CPUS}"
            env {
                A "$A"; B "<${B:-x}>"; C "${C-x}"; D "${EMPTY:-x}${EMPTY-y}"; E "${A:+set}${U:+set}"
                F "${U:-${A}-${U:-in}}"; G "$$A $$ $ 5$"; "${A}" "key"; H "${A}${A}é${A}"
            }
            script "s" "echo $A ${A} $$"
        }
    "#;
    let environment = [("A", "1"), ("CPUS", "2"), ("NAME", "from-env"), ("EMPTY", "")];
    let files = vec![
        EnvFile { name: ".env", bytes: b"A=never\nB=two\n" },
        EnvFile { name: "more.env", bytes: b"B=never\nC=three\n" },
    ];
    let variables = Variables {
        environment: environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        files,
    };
    let input = Input { variables, explain: true, ..input("Sandboxfile", text.as_bytes()) };
    let loaded = load(&input, &FakeHost).unwrap_or_else(|report| panic!("{:#?}", report.diagnostics()));
    assert_eq!(loaded.model.project().as_str(), "from-env");
    let web = sandbox(&loaded.model, "web").definition();
    let value = |name: &str| web.env[name].as_str();
    assert_eq!(web.cpus, 2);
    assert_eq!(["A", "B", "C", "D"].map(value), ["1", "<two>", "three", "x"]);
    assert_eq!(["E", "F", "G", "H", "${A}"].map(value), ["set", "1-in", "$A $ $ 5$", "11é1", "key"]);
    assert_eq!(web.scripts["s"], "#!/bin/sh\necho $A ${A} $$\n", "a script's variables are the shell's");
    let origin = &loaded.origins.of("web.env.B").unwrap()[0];
    assert_eq!((origin.file.as_str(), origin.line), ("Sandboxfile", 7));
    assert_eq!(origin.variables, [("B".to_owned(), ".env:2".to_owned())]);
}

/// Returns the value of `V` with these env files, or the messages of the report.
fn value_with(files: &[&str], text: &str) -> Result<String, Vec<String>> {
    let names = [".env", "more.env"];
    let files = files.iter().zip(names).map(|(text, name)| EnvFile { name, bytes: text.as_bytes() });
    let variables = Variables {
        environment: [("HOST".to_owned(), "from-env".to_owned())].into(),
        files: files.collect(),
    };
    let text = format!("sandbox \"web\" {{ image \"./image\"; env {{ V \"{text}\" }} }}");
    match load(&Input { variables, ..input("Sandboxfile", text.as_bytes()) }, &FakeHost) {
        Ok(loaded) => Ok(sandbox(&loaded.model, "web").definition().env["V"].clone()),
        Err(report) => Err(report.diagnostics().iter().map(|one| one.message.clone()).collect()),
    }
}

#[test]
fn env_files_have_the_syntax_of_compose() {
    let mut differing = Vec::new();
    for (files, expected) in [
        // Bare values and their comments.
        (["V=plain", ""], "plain"),
        (["V=", ""], ""),
        (["V=\n'x'=y", ""], "this line sets no variable"),
        (["V= # none yet\n", ""], ""),
        (["V=\t# none yet\n", ""], ""),
        (["V=8080\t# behind a tab\n", ""], "8080"),
        (["V=a # comment\n", ""], "a"),
        (["V=a#b # comment # more\n", ""], "a#b"),
        (["V=123#4\n", ""], "123#4"),
        (["V=#4\n", ""], "#4"),
        (["# first\n\n  # second\nV=x=y==\n", ""], "x=y=="),
        (["export V = b c \n", ""], "b c"),
        (["export\tV=b\n", ""], "b"),
        (["\u{FEFF}V=bom\r\nW=\r\n", ""], "bom"),
        (["V=grüß 漢\n", ""], "grüß 漢"),
        // Quotes.
        (["V='$x ${y} \\n $$' # as it is\n", ""], "$x ${y} \\n $$"),
        (["V=\"a#b\"#c\n", ""], "a#b"),
        (["V=\"a # b\" # c\n", ""], "a # b"),
        (["V=\"a\\tb\\\"c\\\" \\\\ \\q\"\n", ""], "a\tb\"c\" \\ \\q"),
        (["V=\"it's\"\nW='\"'\n", ""], "it's"),
        // Quotes over several lines.
        (["V=\"-----BEGIN\nline2\n-----END\" # key\nW=1\n", ""], "-----BEGIN\nline2\n-----END"),
        (["V='x\r\n# y\r\nW=1'\r\n", ""], "x\n# y\nW=1"),
        (["V=\"x\r\n\r\ny\"", ""], "x\n\ny"),
        // Variables.
        (["U=app\nV=postgres://${U}@db/$U\n", ""], "postgres://app@db/app"),
        (["U=app\nV=\"<${U}>\n$U\" # ${NONE}\n", ""], "<app>\napp"),
        (["U=app\nV='${U} $U'\n", ""], "${U} $U"),
        (["U=app\nV=\"\\$U \\${U} $\\$U $$U \\\\$U\"\n", ""], "$U ${U} $$U $U \\app"),
        (["V=pa$$word$$ $1 $\n", ""], "pa$word$ $1 $"),
        (["V=${NONE:-default}${NONE-x}${HOST:+y}\n", ""], "defaultxy"),
        (["EMPTY=\nV=[${EMPTY:-a}${EMPTY-b}]\n", ""], "[a]"),
        // A replaced value is not expanded again.
        (["U='$HOST'\nV=$U\n", ""], "$HOST"),
        // The environment comes first, then the file before, then the lines before.
        (["HOST=own\nV=${HOST}\n", ""], "from-env"),
        (["A=first\n", "A=second\nV=${A}\n"], "first"),
        (["V=1\nV=${V}2\n", ""], "12"),
        (["V=${LATER:-default}\nLATER=x\n", ""], "default"),
        (["V=${NONE}\n", ""], "the variable `NONE` is not set"),
        (["V=${NONE\n", ""], "this `${` is not closed"),
        (["V=${HOST:?a reason}${NONE:?a reason}\n", ""], "the variable `NONE` must be set: a reason"),
    ] {
        let read = value_with(&files, "${V}").unwrap_or_else(|messages| messages.join("; "));
        if read != expected {
            differing.push(format!("{files:?}: {read:?} instead of {expected:?}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn origins_list_overridden_values() {
    let over = "sandbox \"web\" { memory \"256M\" }\nsandbox \"copy\" { like \"web\"; cpus 4 }\n";
    let sources = vec![source("Sandboxfile", BASE.as_bytes()), source("over.kdl", over.as_bytes())];
    let input = Input { sources, explain: true, ..input("Sandboxfile", b"") };
    let origins = load(&input, &FakeHost).unwrap().origins;
    let places = |path: &str| -> Vec<(String, usize, Option<String>)> {
        let origins = origins.of(path).unwrap_or_default().into_iter();
        origins.map(|one| (one.file, one.line, one.like)).collect()
    };
    assert_eq!(places("web.memory"), [("over.kdl".into(), 1, None), ("Sandboxfile".into(), 5, None)]);
    assert_eq!(places("web.env.A"), [("Sandboxfile".into(), 6, None)]);
    let like = Some("web".to_owned());
    assert_eq!(
        places("copy.memory"),
        [("over.kdl".into(), 1, like.clone()), ("Sandboxfile".into(), 5, like)]
    );
    assert_eq!(places("copy.start"), []);
    assert_eq!(places("copy.cpus"), [("over.kdl".into(), 2, None)]);
    assert_eq!(origins.beneath("web.env").count(), 2);
}

#[test]
fn files_merge_by_path_and_each_is_read_in_its_own_folder() {
    let base = r#"
        sandbox "web" { image "./image"; file "/etc/a" "./a.conf" mode="0600"; file "/etc/b" "./b.conf" }
        sandbox "copy" { like "web"; file "/etc/b" content="own" }
    "#;
    let over = Source {
        folder: "/elsewhere",
        ..source(
            "over.kdl",
            b"sandbox \"web\" { file \"/etc/a\" \"./a.conf\"; file \"/etc/c\" content=\"c\" }",
        )
    };
    let sources = vec![source("Sandboxfile", base.as_bytes()), over];
    let loaded = load(&Input { sources, ..input("Sandboxfile", b"") }, &FakeHost);
    let model = loaded.unwrap_or_else(|report| panic!("{:#?}", report.diagnostics())).model;
    let files = |name: &str| -> Vec<(String, Option<String>, u32, Vec<u8>)> {
        let files = sandbox(&model, name).definition().files.iter();
        files
            .map(|(path, file)| (path.clone(), file.from.clone(), file.mode, file.contents.bytes().to_vec()))
            .collect()
    };
    let host = |to: &str, path: &str| {
        (to.to_owned(), Some(path.to_owned()), 0o644, [path.as_bytes(), &[0, 0xFF]].concat())
    };
    let own = |to: &str, text: &str| (to.to_owned(), None, 0o644, text.as_bytes().to_vec());
    // The entry of the overlay replaces the whole one, its mode included.
    let a = host("/etc/a", "/elsewhere/a.conf");
    assert_eq!(files("web"), [a.clone(), host("/etc/b", "/project/b.conf"), own("/etc/c", "c")]);
    assert_eq!(files("copy"), [a, own("/etc/b", "own"), own("/etc/c", "c")]);
}
