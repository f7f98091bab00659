//! `jwt-reissuer module`: brings the module that an image holds to where Envoy reads it.

mod install;

use clap::{Args, Subcommand};

use crate::failure::Failure;

/// The meaning of the exit codes, for `--help`.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the module is refused; no file was changed
  2  an option, a file or the directory cannot be used; no file was changed";

#[derive(Args)]
pub struct Module {
    #[command(subcommand)]
    command: ModuleCommand,
}

#[derive(Subcommand)]
enum ModuleCommand {
    #[command(after_help = EXIT_CODES)]
    Install(install::Install),
}

impl Module {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Failure`], whose exit code is the command's.
    pub fn run(&self) -> Result<(), Failure> {
        match &self.command {
            ModuleCommand::Install(command) => command.run(),
        }
    }
}
