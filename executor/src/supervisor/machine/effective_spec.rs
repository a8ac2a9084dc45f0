//! The effective spec of a sandbox: its declaration, with the image's config for undeclared properties.
//!
//! The image's digest is in the spec and determines its config, so declared specs are compared without it. The config is
//! only added here, before a machine boots.

use executor_image::ImageConfig;
use rules::user::GuestUser;
use schemas::spec::{Definition, HealthSetting, Role, SandboxSpec};
use std::path::Path;

/// Programs that exit at once without a terminal and arguments: an image whose command is one of them is meant for
/// interactive use.
const INTERACTIVE: [&str; 14] = [
    "ash", "bash", "dash", "fish", "ghci", "irb", "julia", "ksh", "node", "python", "python3", "sh", "zsh",
    "R",
];

/// Returns the effective spec of a declared one.
pub fn effective_spec(config: &ImageConfig, declared: &SandboxSpec) -> SandboxSpec {
    let mut spec = declared.clone();
    let definition = &mut spec.definition;
    for (name, value) in &config.env {
        definition.env.entry(name.clone()).or_insert_with(|| value.clone());
    }
    definition.workdir = definition.workdir.take().or_else(|| config.workdir.clone());
    definition.healthcheck =
        definition.healthcheck.take().or_else(|| config.healthcheck.clone().map(HealthSetting::Check));
    let args = definition.args.take();
    let is_idle = definition.role == Role::Service && args.is_none() && is_interactive(config);
    let own = || match args {
        Some(args) => Some(config.entrypoint.iter().cloned().chain(args).collect()),
        None => config.command().filter(|_| !is_idle),
    };
    definition.start = definition.start.take().or_else(own).filter(|command| !command.is_empty());
    spec
}

/// Returns the user of the processes as `user[:group]`: the declared one, or else the image's, which only the guest can
/// check; `None` for root.
pub fn effective_user(config: &ImageConfig, definition: &Definition) -> Option<String> {
    definition.user.as_ref().map(GuestUser::to_string).or_else(|| config.user.clone())
}

/// Whether an image's own command only reads from a terminal.
pub fn is_interactive(config: &ImageConfig) -> bool {
    let last = match (config.entrypoint.as_slice(), config.cmd.as_slice()) {
        ([program], []) | (_, [program]) => program,
        _ => return false,
    };
    let name = Path::new(last).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    INTERACTIVE.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::digest::Digest;
    use schemas::spec::{HealthCheck, ImageReference, PinnedImage};

    fn spec(role: Role) -> SandboxSpec {
        let reference = ImageReference::Local { path: "/image".to_owned() };
        let image = PinnedImage { reference, digest: Digest::of_bytes(b"") };
        SandboxSpec { image, definition: Definition::with_defaults(role) }
    }

    fn words(text: &str) -> Vec<String> {
        text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    fn check(exec: &str) -> Option<HealthCheck> {
        let exec = words(exec);
        Some(HealthCheck { exec, interval_ms: 1, timeout_ms: 1, retries: 1, start_period_ms: 1, hint: None })
    }

    fn config() -> ImageConfig {
        ImageConfig {
            entrypoint: words("/entry"),
            cmd: words("-v"),
            env: [("A", "image"), ("B", "image")].map(|(name, value)| (name.into(), value.into())).into(),
            user: Some("app".to_owned()),
            workdir: Some("/srv".to_owned()),
            healthcheck: check("image"),
            ..ImageConfig::default()
        }
    }

    #[test]
    fn undeclared_properties_come_from_the_image() {
        let spec = effective_spec(&config(), &spec(Role::Service)).definition;
        assert_eq!(spec.start, Some(words("/entry -v")));
        assert_eq!(effective_user(&config(), &spec).as_deref(), Some("app"));
        assert_eq!(spec.workdir.as_deref(), Some("/srv"));
        assert_eq!((spec.env["A"].as_str(), spec.health_check()), ("image", check("image").as_ref()));
    }

    #[test]
    fn arguments_take_the_place_of_the_images_own() {
        let mut declared = spec(Role::Service);
        declared.definition.args = Some(words("a b"));
        assert_eq!(effective_spec(&config(), &declared).definition.start, Some(words("/entry a b")));
        // Without an entrypoint they are the whole command, as in compose.
        let bare = ImageConfig { cmd: words("sh"), ..ImageConfig::default() };
        assert_eq!(effective_spec(&bare, &declared).definition.start, Some(words("a b")));
    }

    #[test]
    fn declared_properties_take_precedence() {
        let mut declared = spec(Role::Service);
        let definition = &mut declared.definition;
        definition.start = Some(words("mine"));
        definition.env = [("A".to_owned(), "mine".to_owned())].into();
        (definition.user, definition.workdir) = (Some("me".parse().unwrap()), Some("/mine".to_owned()));
        definition.healthcheck = check("mine").map(HealthSetting::Check);
        let run = effective_spec(&config(), &declared).definition;
        assert_eq!(run.env["B"], "image");
        assert_eq!(effective_user(&config(), &run).as_deref(), Some("me"));
        assert_eq!(Definition { env: declared.definition.env.clone(), ..run }, declared.definition);
        // Without a config the declaration is unchanged.
        assert_eq!(effective_spec(&ImageConfig::default(), &declared), declared);
    }

    #[test]
    fn a_disabled_health_check_turns_the_images_off() {
        let mut declared = spec(Role::Service);
        declared.definition.healthcheck = Some(HealthSetting::Disabled);
        let run = effective_spec(&config(), &declared).definition;
        assert_eq!((run.health_check(), run.healthcheck.is_some()), (None, true));
    }

    #[test]
    fn an_image_to_work_in_idles_unless_it_is_a_job() {
        let of = |entrypoint, cmd| ImageConfig {
            entrypoint: words(entrypoint),
            cmd: words(cmd),
            ..ImageConfig::default()
        };
        for idle in [of("", "/bin/sh"), of("", "python3"), of("docker-entrypoint.sh", "node"), of("bash", "")]
        {
            assert_eq!(effective_spec(&idle, &spec(Role::Service)).definition.start, None, "{idle:?}");
            assert!(effective_spec(&idle, &spec(Role::Job)).definition.start.is_some(), "{idle:?}");
        }
        let mut idle = spec(Role::Job);
        idle.definition.start = Some(Vec::new());
        assert_eq!(effective_spec(&of("", "/serve"), &idle).definition.start, None);
        for busy in [of("", "sh -c x"), of("", "/serve"), of("sh", "/start"), of("tini --", "/serve")] {
            assert!(effective_spec(&busy, &spec(Role::Service)).definition.start.is_some(), "{busy:?}");
        }
    }
}
