//! A project whose instances are on a [`Stage`], and the commands that act on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clnrm_core::backend::{Backends, NetworkNames, OnPull};
use clnrm_core::clock::Clock;
use clnrm_core::config::definition::{ServiceDefinition, TestDefinition};
use clnrm_core::config::load_test;
use clnrm_core::lifecycle::pool::Wanted;
use clnrm_core::lifecycle::sampler::Observer;
use clnrm_core::lifecycle::{LiveInstance, Project, StartFailure, StartPlan};
use clnrm_core::manage::{ManageOptions, PassedService, manage};
use clnrm_core::procfs::ProcessIdentity;
use clnrm_core::runner::event::{EventKind, Events};
use clnrm_core::runner::replay::report_of;
use clnrm_core::runner::result::RunReport;
use clnrm_core::runner::{RunOptions, run};
use clnrm_core::services::service_manager::ServiceMetrics;
use clnrm_core::store::{
    InstanceId, InstanceRow, Leased, NewLease, RunId, RunOrigin, ServiceId, Store, StoreHandle,
};
use rand::SeedableRng;
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock::ManualClock;
use crate::stage::{Stage, StageBackend};

const TWO_MINUTES: Duration = Duration::from_secs(120);

pub(crate) struct World {
    folder: TempDir,
    pub(crate) stage: Arc<Stage>,
    clock: Arc<ManualClock>,
    commands: AtomicU64,
}

/// One command of clnrm.
#[derive(Clone)]
pub(crate) struct Command {
    pub(crate) project: Arc<Project>,
    test: TestDefinition,
}

impl World {
    /// A project with this test file.
    pub(crate) fn of(file: &str) -> Self {
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
            stage: Arc::default(),
            clock: Arc::new(ManualClock::new()),
            commands: AtomicU64::new(0),
        };
        fs::write(world.file(), format!("[test]\nname = \"t\"\n{file}")).unwrap();
        world
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("t.clnrm.toml")
    }

    /// The test of the file.
    pub(crate) fn test(&self) -> TestDefinition {
        load_test(&self.file(), &[]).unwrap()
    }

    /// A command that lives as long as this test.
    pub(crate) fn command(&self) -> Command {
        let pid = i32::try_from(std::process::id()).unwrap();
        self.command_of(ProcessIdentity::of(pid).unwrap().unwrap())
    }

    /// One that was killed: whatever it does here, it did before that.
    pub(crate) fn killed_command(&self) -> Command {
        self.command_of(ProcessIdentity {
            pid: i32::MAX,
            start_ticks: 1,
            boot_id: "of the stage".to_owned(),
        })
    }

    fn command_of(&self, owner: ProcessIdentity) -> Command {
        let state_dir = self.folder.path().join(".clnrm");
        let store = Store::open(&state_dir).unwrap();
        // Two commands never choose the same ids.
        let seed = self.commands.fetch_add(1, Ordering::Relaxed);
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.clock);
        Command {
            project: Arc::new(Project {
                store: StoreHandle::new(store),
                backends: Backends::only(vec![Arc::new(StageBackend(Arc::clone(&self.stage)))]),
                clock,
                state_dir,
                owner,
                // Nothing is spawned here.
                clnrm: PathBuf::from("/nonexistent/clnrm"),
                environment: BTreeMap::new(),
                looks_only: false,
                hurry: CancellationToken::new(),
                rng: Mutex::new(SeedableRng::seed_from_u64(seed)),
            }),
            test: self.test(),
        }
    }

    /// Runs the file once.
    pub(crate) async fn run(&self, keep: bool) -> Ran {
        self.run_tests(vec![self.test()], keep).await
    }

    /// Runs these tests one after the other.
    pub(crate) async fn run_tests(&self, tests: Vec<TestDefinition>, keep: bool) -> Ran {
        let told = Arc::new(Mutex::new(Vec::new()));
        let project = self.command().project;
        let events = {
            let told = Arc::clone(&told);
            let notify = Box::new(move |event| told.lock().unwrap().push(event));
            Arc::new(Events::new(Arc::clone(&project.clock), notify))
        };
        let options = RunOptions {
            jobs: 1,
            fail_fast: false,
            keep,
            origin: RunOrigin::default(),
        };
        let not_recorded = run(project, tests, options, events, CancellationToken::new()).await;
        assert!(not_recorded.unwrap().is_none());
        let events = told.lock().unwrap();
        let warnings = events.iter().filter_map(|event| match &event.kind {
            EventKind::Warning { message } => Some(message.clone()),
            _ => None,
        });
        Ran {
            warnings: warnings.collect(),
            report: report_of(events.iter()),
        }
    }
}

/// What became of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) report: RunReport,
    pub(crate) warnings: Vec<String>,
}

impl Command {
    pub(crate) fn definition(&self, name: &str) -> &ServiceDefinition {
        let mut services = self.test.services.iter();
        services.find(|service| service.name == name).unwrap()
    }

    /// The row of a service.
    pub(crate) async fn service(&self, name: &str) -> ServiceId {
        let (definition, file) = (self.definition(name).clone(), self.test.file.clone());
        let now = self.project.now();
        let registered = self
            .project
            .store
            .call(move |store| store.register_service(&definition, &file, now));
        registered.await.unwrap()
    }

    /// A run that has begun.
    pub(crate) async fn begin_run(&self, keep: bool) -> RunId {
        let (owner, now) = (self.project.owner.clone(), self.project.now());
        let begun = self
            .project
            .store
            .call(move |store| store.begin_run(&owner, keep, now));
        begun.await.unwrap()
    }

    pub(crate) async fn start_for(
        &self,
        run: Option<RunId>,
        name: &str,
        cancel: CancellationToken,
    ) -> Result<LiveInstance, StartFailure> {
        let plan = StartPlan {
            service: self.service(name).await,
            definition: self.definition(name),
            run,
            neighbours: &BTreeMap::new(),
            names: NetworkNames::default(),
            preferred: None,
            cancel,
            on_pull: OnPull::default(),
        };
        self.project.start_fresh(&plan).await
    }

    /// An instance of a service that nobody but this command holds.
    pub(crate) async fn start(&self, name: &str) -> Result<LiveInstance, StartFailure> {
        self.start_for(None, name, CancellationToken::new()).await
    }

    /// One that is free in its pool.
    pub(crate) async fn start_warm(&self, name: &str) -> String {
        let instance = self.start(name).await.unwrap();
        self.give_back(&instance).await;
        instance.id.0
    }

    pub(crate) async fn give_back(&self, instance: &LiveInstance) {
        let given = self.project.give_back(instance, u32::MAX, None).await;
        given.unwrap();
    }

    /// A warm instance, leased.
    pub(crate) async fn claim(&self, name: &str) -> Option<LiveInstance> {
        let wanted = Wanted {
            service: self.service(name).await,
            definition: self.definition(name),
            run: self.begin_run(false).await,
            test: "t",
        };
        self.project.claim_warm(&wanted).await.unwrap()
    }

    /// A test holds it from now on.
    pub(crate) async fn lease(&self, instance: &LiveInstance) {
        let lease = NewLease {
            leased: Leased::Instance(instance.id.clone()),
            run: None,
            test: "t".to_owned(),
            owner: self.project.owner.clone(),
            acquired_at: self.project.now(),
        };
        let leased = self
            .project
            .store
            .call(move |store| store.acquire_lease(&lease));
        leased.await.unwrap().unwrap();
    }

    /// What had to be put in order.
    pub(crate) async fn recover(&self) -> Vec<String> {
        self.project.recover().await.unwrap().notes
    }

    /// The guard's whole life, which is no longer than two minutes; what it warned of.
    pub(crate) async fn guard(&self) -> Vec<String> {
        self.guard_until(&CancellationToken::new()).await
    }

    pub(crate) async fn guard_until(&self, cancel: &CancellationToken) -> Vec<String> {
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&warnings);
        let warn = Arc::new(move |warning| told.lock().unwrap().push(warning));
        let guarding = timeout(TWO_MINUTES, self.project.guard(warn, cancel));
        guarding.await.unwrap().unwrap();
        let mut warnings = warnings.lock().unwrap();
        std::mem::take(&mut *warnings)
    }

    pub(crate) async fn row(&self, id: &str) -> InstanceRow {
        let id = InstanceId(id.to_owned());
        let row = self.project.store.call(move |store| store.instance(&id));
        row.await.unwrap().unwrap()
    }

    /// Measures a service as if it had been sampled so often, once a second up to now, each time with this load.
    pub(crate) async fn has_measured(&self, name: &str, count: i64, load: ServiceMetrics) {
        let (service, now) = (self.service(name).await, self.project.now());
        let samples = (0..count).rev().map(|ago| {
            let sample = ServiceMetrics {
                sampled_at: now - Duration::from_secs(u64::try_from(ago).unwrap()),
                ..load
            };
            (service, sample)
        });
        let samples: Vec<_> = samples.collect();
        let recorded = self
            .project
            .store
            .call(move |store| store.append_samples(&samples));
        recorded.await.unwrap();
    }

    pub(crate) async fn samples(&self, name: &str) -> Vec<ServiceMetrics> {
        let service = self.service(name).await;
        let samples = self
            .project
            .store
            .call(move |store| store.raw_samples(service));
        samples.await.unwrap()
    }

    pub(crate) fn observer(&self) -> Arc<Observer> {
        Arc::new(Observer::new(Arc::clone(&self.project), Arc::new(|_| {})))
    }

    /// One pass of `ai-manage --auto-scale`, and what it did for the first service.
    pub(crate) async fn manage(&self) -> PassedService {
        self.manage_beside(&self.observer()).await
    }

    /// The same while `observer` samples.
    pub(crate) async fn manage_beside(&self, observer: &Observer) -> PassedService {
        let options = ManageOptions {
            auto_scale: true,
            predict_load: false,
            optimize_resources: false,
            horizon: Duration::from_secs(300),
            dry_run: false,
            selection: Vec::new(),
            cost: Default::default(),
        };
        let report = manage(&self.project, &options, observer, &|_| {}).await;
        report.unwrap().services.remove(0)
    }
}
