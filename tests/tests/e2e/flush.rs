//! Files that a guest has written without a sync survive `msb stop`.

use tests::Project;

/// The number of rounds; more rounds try more sizes.
const ROUNDS_VARIABLE: &str = "E2E_FLUSH_ROUNDS";
const ROUNDS: u32 = 3;

/// Writes and removes files of many sizes, and ends while the changes are in the guest's memory.
const WRITE: &str = r#"
round=$1
mkdir -p /data && cd /data
head -c $((round * 7919 % 300000)) /dev/urandom >big.$((round % 3))
echo "round $round" >>log
i=0; while [ $i -lt 20 ]; do echo "$round $i" >small.$i; i=$((i + 1)); done
rm -f gone.*; echo x >gone.$round
ln -sf small.$((round % 20)) link
find . -type f -o -type l | sort | xargs md5sum
readlink link
"#;

#[test]
fn files_survive_a_stop() {
    let rounds = std::env::var(ROUNDS_VARIABLE).ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let project = Project::new("sandbox \"box\" { image \"@image\"; memory \"128M\" }\n");
    project.up();
    for round in 1..=rounds {
        let written = project.exec("box", &["sh", "-c", WRITE, "sh", &round.to_string()]);
        project.ok(&["stop", "box"]);
        project.ok(&["start", "box"]);
        let check = "cd /data && find . -type f -o -type l | sort | xargs md5sum; readlink link";
        let found = project.exec("box", &["sh", "-c", check]);
        assert_eq!(found, written, "round {round} of {rounds}");
    }
    project.down();
}
