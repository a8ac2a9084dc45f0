//! Flags from the table of properties: each sets one property to a text, a number, a list or pairs.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use sandboxfile::language::{Flag, FlagKind, Property, SANDBOX};

/// The property flags of a command line.
#[derive(Debug, Default)]
pub struct PropertyFlags {
    /// In the order of the table.
    pub given: Vec<FlagValues>,
}

/// A flag with its values.
#[derive(Debug)]
pub struct FlagValues {
    /// The property that it sets.
    pub property: &'static Property,
    /// The flag.
    pub flag: &'static Flag,
    /// In the order of the command line; several only if the flag can be repeated.
    pub values: Vec<String>,
}

impl PropertyFlags {
    /// Returns the values of all flags for the property with this KDL name.
    pub fn values<'a>(&'a self, kdl: &'a str) -> impl Iterator<Item = &'a String> {
        self.given.iter().filter(move |given| given.property.kdl == kdl).flat_map(|given| &given.values)
    }
}

/// Returns the flags of all properties.
fn flags() -> impl Iterator<Item = (&'static Property, &'static Flag)> {
    SANDBOX.properties.iter().flat_map(|property| property.flags.iter().map(move |flag| (property, flag)))
}

impl clap::Args for PropertyFlags {
    fn augment_args(command: Command) -> Command {
        flags().fold(command, |command, (property, flag)| {
            let arg = Arg::new(flag.long).long(flag.long).value_name(flag.value_name);
            let help = property.description();
            let arg = arg.help(help.trim_end_matches('.').to_owned());
            let arg = if let Some(letter) = flag.short { arg.short(letter) } else { arg };
            command.arg(match flag.kind {
                FlagKind::Text => arg.action(ArgAction::Set),
                FlagKind::Number => arg.action(ArgAction::Set).value_parser(value_parser!(u32)),
                FlagKind::List | FlagKind::Pairs => arg.action(ArgAction::Append),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for PropertyFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Vec::new();
        for (property, flag) in flags() {
            let values: Vec<String> = match flag.kind {
                FlagKind::Number => matches.get_one(flag.long).map(u32::to_string).into_iter().collect(),
                FlagKind::Text | FlagKind::List | FlagKind::Pairs => {
                    matches.get_many(flag.long).into_iter().flatten().cloned().collect()
                }
            };
            if !values.is_empty() {
                given.push(FlagValues { property, flag, values });
            }
        }
        Ok(Self { given })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
