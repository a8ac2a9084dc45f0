//! Large projects as text, in each spelling, and as the compose file that comes closest.
//!
//! Sandboxes come in groups of ten, as in a real project: a database with a health check, a job that waits
//! until it is healthy, and services that wait for both. Each has an image, memory, an environment, a script
//! and something to start.

use std::fmt::Write as _;

/// The format of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// A Sandboxfile in KDL.
    Kdl,
    /// A Sandboxfile in YAML.
    Yaml,
    /// The closest compose file.
    Compose,
}

/// The kinds of sandboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Databases, jobs and services.
    Services,
    /// Jobs alone: once they have completed there is nothing to do, and no process is needed for it.
    Jobs,
}

/// The number of sandboxes of a group.
const GROUP: usize = 10;

/// The role of a sandbox in its group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Database,
    Job,
    Service,
}

/// One sandbox of the project.
struct Member {
    name: String,
    part: Part,
    number: usize,
    /// What it waits for, and for which condition.
    after: Vec<(String, &'static str)>,
}

fn member(number: usize, mix: Mix) -> Member {
    let group = number / GROUP;
    let (database, job) = (format!("database-{group:04}"), format!("migrate-{group:04}"));
    let place = number % GROUP;
    let (name, part, after) = match (mix, place) {
        (Mix::Services, 0) => (database, Part::Database, vec![]),
        (Mix::Services, 1) => (job, Part::Job, vec![(database, "healthy")]),
        (Mix::Services, _) => (
            format!("service-{group:04}-{place}"),
            Part::Service,
            vec![(database, "healthy"), (job, "completed")],
        ),
        (Mix::Jobs, 0) => (job, Part::Job, vec![]),
        (Mix::Jobs, _) => (format!("job-{group:04}-{place}"), Part::Job, vec![(job, "completed")]),
    };
    Member { name, part, number, after }
}

/// A project of so many sandboxes, called `large`.
pub fn project(count: usize, mix: Mix, spelling: Spelling) -> String {
    let members: Vec<Member> = (0..count).map(|number| member(number, mix)).collect();
    let mut text = String::new();
    let written = match spelling {
        Spelling::Kdl => kdl(&mut text, &members),
        Spelling::Yaml => yaml(&mut text, &members),
        Spelling::Compose => compose(&mut text, &members),
    };
    written.expect("a text can be appended to");
    text
}

fn kdl(text: &mut String, members: &[Member]) -> std::fmt::Result {
    writeln!(text, "// {} sandboxes.\nproject \"large\"", members.len())?;
    for Member { name, part, number, after } in members {
        let word = if *part == Part::Job { "job" } else { "sandbox" };
        writeln!(text, "\n{word} \"{name}\" {{\n    image \"./image\"\n    memory \"{}M\"", memory(*number))?;
        writeln!(text, "    env {{\n        LISTEN_PORT {}\n        LOG_LEVEL \"info\"", port(*number))?;
        writeln!(text, "        DATABASE_URL \"{}\"\n    }}", url(name))?;
        for (on, condition) in after {
            writeln!(text, "    depends-on \"{on}\" condition=\"{condition}\"")?;
        }
        writeln!(text, "    script \"serve\" \"\"\"")?;
        for line in SCRIPT {
            writeln!(text, "        {line}")?;
        }
        writeln!(text, "        \"\"\"\n    start \"serve\" \"--name\" \"{name}\"")?;
        if *part == Part::Database {
            writeln!(
                text,
                "    healthcheck {{\n        exec \"pg_isready\" \"-U\" \"postgres\"\n        interval \"2s\""
            )?;
            writeln!(
                text,
                "        retries 10\n        hint \"is the disk full?\"\n    }}\n    restart \"on-failure\" max=5"
            )?;
        }
        writeln!(text, "    labels {{ tier \"{}\" }}\n}}", tier(*part))?;
    }
    Ok(())
}

fn yaml(text: &mut String, members: &[Member]) -> std::fmt::Result {
    writeln!(text, "# {} sandboxes.\nproject: large", members.len())?;
    for (section, jobs) in [("sandboxes", false), ("jobs", true)] {
        let mut own = members.iter().filter(|member| (member.part == Part::Job) == jobs).peekable();
        if own.peek().is_some() {
            writeln!(text, "{section}:")?;
        }
        for Member { name, part, number, after } in own {
            writeln!(text, "  {name}:\n    image: ./image\n    memory: {}M", memory(*number))?;
            writeln!(text, "    env:\n      LISTEN_PORT: {}\n      LOG_LEVEL: info", port(*number))?;
            writeln!(text, "      DATABASE_URL: {}", url(name))?;
            if !after.is_empty() {
                writeln!(text, "    depends_on:")?;
            }
            for (on, condition) in after {
                writeln!(text, "      {on}: {{ condition: {condition} }}")?;
            }
            writeln!(text, "    scripts:\n      serve: |")?;
            for line in SCRIPT {
                writeln!(text, "        {line}")?;
            }
            writeln!(text, "    start: [serve, --name, {name}]")?;
            if *part == Part::Database {
                writeln!(
                    text,
                    "    healthcheck:\n      exec: [pg_isready, -U, postgres]\n      interval: 2s"
                )?;
                writeln!(
                    text,
                    "      retries: 10\n      hint: is the disk full?\n    restart: {{ policy: on-failure, max: 5 }}"
                )?;
            }
            writeln!(text, "    labels: {{ tier: {} }}", tier(*part))?;
        }
    }
    Ok(())
}

/// Compose knows no scripts and no jobs: the script is the command's text, and a job a service that ends.
fn compose(text: &mut String, members: &[Member]) -> std::fmt::Result {
    writeln!(text, "# {} services.\nservices:", members.len())?;
    for Member { name, part, number, after } in members {
        writeln!(text, "  {name}:\n    image: example/image\n    mem_limit: {}m", memory(*number))?;
        writeln!(text, "    environment:\n      LISTEN_PORT: {}\n      LOG_LEVEL: info", port(*number))?;
        writeln!(text, "      DATABASE_URL: {}", url(name))?;
        if !after.is_empty() {
            writeln!(text, "    depends_on:")?;
        }
        for (on, condition) in after {
            let condition = match *condition {
                "completed" => "service_completed_successfully",
                _ => "service_healthy",
            };
            writeln!(text, "      {on}: {{ condition: {condition} }}")?;
        }
        writeln!(text, "    command:\n      - sh\n      - -c\n      - |")?;
        for line in SCRIPT {
            writeln!(text, "        {}", line.replace('$', "$$"))?;
        }
        writeln!(text, "      - --name\n      - {name}")?;
        if *part == Part::Database {
            writeln!(
                text,
                "    healthcheck:\n      test: [CMD, pg_isready, -U, postgres]\n      interval: 2s"
            )?;
            writeln!(text, "      retries: 10\n    restart: on-failure:5")?;
        }
        writeln!(text, "    labels: {{ tier: {} }}", tier(*part))?;
    }
    Ok(())
}

const SCRIPT: [&str; 3] = [
    "set -e",
    "echo \"$1 listens on $LISTEN_PORT\"",
    "exec python3 -m http.server --directory /srv/www \"$LISTEN_PORT\"",
];

fn memory(number: usize) -> usize {
    128 << (number % 3)
}

fn port(number: usize) -> usize {
    8000 + number % 1000
}

fn url(name: &str) -> String {
    format!("postgres://app@{name}.internal:5432/app?sslmode=disable")
}

fn tier(part: Part) -> &'static str {
    match part {
        Part::Database => "data",
        Part::Job => "batch",
        Part::Service => "front",
    }
}
