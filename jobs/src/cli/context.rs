//! What every command works with: the jobs of the binary, and its settings.

use crate::job::TierOf;
use crate::{Error, Job, Result, archive, jobs, run};
use distributary_runtime::bus::{Bus, Topic};
use distributary_runtime::plan::Tier;
use distributary_runtime::settings::Settings;
use std::path::PathBuf;
use std::sync::Arc;

/// The settings file that is read when it is there and no other is named.
const FILE: &str = "distributary.toml";
/// Names another settings file.
const FILE_VARIABLE: &str = "DISTRIBUTARY_CONFIG";
/// A name this much alike (Jaro-Winkler) is likely meant.
const ALIKE: f64 = 0.7;

/// Options of every command.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct Global {
    /// Settings file [default: distributary.toml, if there is one; or $DISTRIBUTARY_CONFIG].
    #[arg(long, global = true, value_name = "FILE", help_heading = "Settings")]
    config: Option<PathBuf>,
    /// A setting, over file and environment: `--set epoch_interval_ms=5`. May be given several times.
    #[arg(long = "set", global = true, value_name = "NAME=VALUE", value_parser = name_and_value, help_heading = "Settings")]
    set: Vec<(String, String)>,
    /// Where bus, checkpoints and state of this machine lie: short for `--set data_dir=DIR`.
    #[arg(long, global = true, value_name = "DIR", help_heading = "Settings")]
    data_dir: Option<String>,
}

/// See the module.
pub(super) struct Context<'a> {
    jobs: &'a [Job],
    global: Global,
}

impl<'a> Context<'a> {
    pub(super) fn new(jobs: &'a [Job], global: Global) -> Self {
        Self { jobs, global }
    }

    /// The jobs of this binary.
    pub(super) fn jobs(&self) -> &'a [Job] {
        self.jobs
    }

    /// The folder that `--data-dir` names.
    pub(super) fn data_dir(&self) -> Option<&str> {
        self.global.data_dir.as_deref()
    }

    /// The settings, from all their layers: what does not differ by tier.
    pub(super) fn settings(&self) -> Result<Settings> {
        self.settings_of(Tier::Stream, &[])
    }

    /// The settings of a tier, with those of a command's own flags on top.
    pub(super) fn settings_of(&self, tier: Tier, flags: &[(&str, Option<String>)]) -> Result<Settings> {
        let named = self.global.config.clone().or_else(|| std::env::var_os(FILE_VARIABLE).map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| PathBuf::from(FILE));
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => Some((path.display().to_string(), text)),
            Err(e) if named.is_none() && e.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(Error::Io { what: format!("reading settings from {}", path.display()), source }),
        };
        let mut all = self.global.set.clone();
        all.extend(self.global.data_dir.clone().map(|dir| ("data_dir".to_string(), dir)));
        let prefix = if tier == Tier::Batch { "batch." } else { "" };
        all.extend(flags.iter().filter_map(|(name, value)| Some((format!("{prefix}{name}"), value.clone()?))));
        let env = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Settings::load_of(tier, file.as_ref().map(|(name, text)| (name.as_str(), text.as_str())), env, &all)
    }

    /// The bus of the settings.
    pub(super) fn bus(&self) -> Result<Arc<dyn Bus>> {
        run::open_bus(&self.settings()?)
    }

    /// The pipeline of this name: `job` and `team.job` are the streaming tier (or the only one), with `.batch` behind it the batch tier.
    pub(super) fn pipeline(&self, name: &str) -> Result<TierOf> {
        let first = self.pipelines(name)?.into_iter().next();
        Ok(first.unwrap_or_else(|| unreachable!("a job has a tier")))
    }

    /// The pipelines of this name: of `job` and `team.job` all there are.
    pub(super) fn pipelines(&self, name: &str) -> Result<Vec<TierOf>> {
        let (job, tier) = match name.strip_suffix(".batch") {
            Some(job) => (job, Some(Tier::Batch)),
            None => (name, None),
        };
        self.pipelines_of(self.job(job)?, tier)
    }

    /// As [`Context::pipelines`], of one tier if it is given; and `team.*` names all jobs of a team.
    pub(super) fn pipelines_to_run(&self, name: &str, tier: Option<Tier>) -> Result<Vec<TierOf>> {
        let Some(team) = name.strip_suffix(".*") else {
            return if tier.is_some() { self.pipelines_of(self.job(name)?, tier) } else { self.pipelines(name) };
        };
        let archives = if team == archive::TEAM { archive::jobs(self.jobs)? } else { Vec::new() };
        let mut all = Vec::new();
        for job in self.jobs.iter().chain(&archives).filter(|job| job.team() == team) {
            all.extend(run::tiers(*job)?.into_iter().filter(|of| tier.is_none_or(|tier| of.tier == tier)));
        }
        if all.is_empty() {
            let what = format!("team `{team}` has nothing to run here");
            let of_archives = "archives are of topics that a job of this binary reads and whose events have a subject";
            return Err(Error::refused(what, format!("see the jobs (`--help`); {of_archives}")));
        }
        Ok(all)
    }

    /// The pipelines of a job, or that of one tier.
    pub(super) fn pipelines_of(&self, job: Job, tier: Option<Tier>) -> Result<Vec<TierOf>> {
        let mut tiers = run::tiers(job)?;
        let others = tiers.first().map_or(Tier::Stream, |of| of.tier);
        tiers.retain(|of| tier.is_none_or(|tier| of.tier == tier));
        match tier.filter(|_| tiers.is_empty()) {
            None => Ok(tiers),
            Some(tier) => {
                let what = format!("{job} has no {tier} tier");
                Err(Error::refused(what, format!("all its sinks are in the {others} tier: leave the {tier} tier out")))
            }
        }
    }

    /// A job by its name, or by `team.job`.
    pub(super) fn job(&self, name: &str) -> Result<Job> {
        let named = |job: &&Job| job.name() == name || job.to_string() == name;
        let built_in = || jobs::ALL.iter().find(|job| job.to_string() == name);
        if let Some(job) = self.jobs.iter().find(named).or_else(built_in) {
            return Ok(*job);
        }
        let archives = archive::jobs(self.jobs)?;
        if let Some(job) = archives.iter().find(|job| job.to_string() == name) {
            return Ok(*job);
        }
        let names = self.jobs.iter().map(|job| job.name().to_string()).chain(archives.iter().map(ToString::to_string));
        let names: Vec<String> = names.collect();
        Err(Error::refused(format!("there is no job `{name}`"), remedy(name, &names, "the jobs here are")))
    }
}

/// A topic, or an error that names the nearest one.
pub(super) fn find_topic(bus: &dyn Bus, name: &str) -> Result<Topic> {
    if let Some(topic) = bus.topic(name)? {
        return Ok(topic);
    }
    let names: Vec<String> = bus.topics()?.into_iter().map(|topic| topic.spec.name).collect();
    let remedy = match remedy(name, &names, "the topics are") {
        remedy if names.is_empty() || !remedy.starts_with("did") => format!("create it: `topic create {name}`"),
        remedy => remedy,
    };
    Err(Error::refused(format!("there is no topic `{name}`"), remedy))
}

/// The nearest name, or all of them.
fn remedy(name: &str, names: &[String], all: &str) -> String {
    let alike = names.iter().map(|known| (strsim::jaro_winkler(name, known), known));
    match alike.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, known)) if score >= ALIKE => format!("did you mean `{known}`?"),
        _ => format!("{all} {}", names.join(", ")),
    }
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, such as `workers=2`")?;
    Ok((name.trim().to_string(), value.to_string()))
}
