//! `msb doctor` on a host that can boot guests.

use tests::Project;

#[test]
fn doctor_names_the_chosen_driver() {
    let project = Project::new("");
    let report = project.ok(&["doctor", "--json"]).json();
    assert_eq!(report["ok"], true, "{report:#}");
    let chosen = project.driver();
    assert!(["krun", "qemu"].contains(&chosen.as_str()), "{report:#}");
    if let Ok(wanted) = std::env::var("MSB_DRIVER") {
        assert_eq!(chosen, wanted);
    }
    project.ok(&["doctor"]).prints_some(&chosen);
}
