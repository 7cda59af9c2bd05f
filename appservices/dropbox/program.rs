//! The program: the kit's commands, and `audit`.

use std::{
    io::{BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
};

use bot_kit::Config;
use clap::{Parser, ValueEnum};

use crate::{bot::Dropbox, record, settings::Settings};

/// 記録を書き出し、行のつながりを確かめる / write the record out and check that its lines follow each other
#[derive(Debug, Parser)]
#[command(name = "yakuba-dropbox audit")]
struct Audit {
    /// 設定ファイル / the configuration file
    #[arg(long)]
    config: PathBuf,
    /// 形式 / the form
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Excel で開ける表 / a table for Excel
    Csv,
    /// 1行に1件の JSON / JSON, a line for each row
    Json,
}

/// The whole program. `audit` reads the record's file alone, so it may be asked while the service runs.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next();
    if arguments.next().is_none_or(|command| command != "audit") {
        return bot_kit::main::<Dropbox>();
    }
    match audit(&Audit::parse_from(program.into_iter().chain(arguments))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when that fails.
            writeln!(std::io::stderr(), "{error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn audit(audit: &Audit) -> anyhow::Result<()> {
    let config = Config::<Settings>::read(&audit.config)?;
    let path = config.path(&config.bot.audit_path);
    let mut out = BufWriter::new(std::io::stdout().lock());
    let end = record::export(&path, matches!(audit.format, Format::Csv), &mut out)?;
    out.flush()?;
    // On the other stream, so that it stands in no table.
    writeln!(
        std::io::stderr(),
        "{} 行、つながりに誤りはありません。最後の行のハッシュ {} / {} lines follow each other; hash of the last one {}",
        end.next,
        end.hash,
        end.next,
        end.hash
    )?;
    Ok(())
}
