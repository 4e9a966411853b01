//! The one place where asynchronous code meets the history.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Store, StoreError};

/// Shares one [`Store`] between tasks; each call runs on a thread that may block.
#[derive(Debug, Clone)]
pub struct StoreHandle {
    store: Arc<Mutex<Store>>,
    path: Arc<Path>,
}

impl StoreHandle {
    /// Shares `store`.
    pub fn new(store: Store) -> Self {
        Self {
            path: store.path().into(),
            store: Arc::new(Mutex::new(store)),
        }
    }

    /// A connection of its own to the same history: its calls do not wait for those of this one.
    pub async fn another(&self) -> Result<Self, StoreError> {
        self.call(|store| store.another().map(Self::new)).await
    }

    /// Runs `work` on the store, after the calls before it. Once begun it is carried out, even if the caller is dropped.
    ///
    /// # Errors
    /// Those of `work`; [`StoreError::ShuttingDown`] where the runtime ends before it begins.
    ///
    /// # Panics
    /// Where `work` does.
    pub async fn call<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    {
        let store = Arc::clone(&self.store);
        let task = tokio::task::spawn_blocking(move || {
            // A panic rolled its transaction back, so the store behind a poisoned lock is sound.
            work(&mut store.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match task.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(StoreError::ShuttingDown {
                    path: self.path.to_path_buf(),
                }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_from_many_tasks_take_turns() {
        let dir = tempfile::tempdir().unwrap();
        let handle = StoreHandle::new(Store::open(dir.path()).unwrap());
        let tasks: Vec<_> = (0..16)
            .map(|number| {
                let handle = handle.clone();
                tokio::spawn(async move {
                    handle
                        .call(move |store| {
                            let owner = crate::store::tests::identity(number);
                            store.begin_run(&owner, false, crate::clock::Timestamp::default())
                        })
                        .await
                        .unwrap()
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let runs = handle.call(|store| store.unfinished_runs()).await.unwrap();
        assert_eq!(runs.len(), 16);
    }

    #[tokio::test]
    async fn another_connection_sees_the_same_history_and_does_not_wait() {
        let dir = tempfile::tempdir().unwrap();
        let handle = StoreHandle::new(Store::open(dir.path()).unwrap());
        let another = handle.another().await.unwrap();
        let owner = crate::store::tests::identity(1);
        let now = crate::clock::Timestamp::default();
        let begin = move |store: &mut Store| store.begin_run(&owner, false, now);
        let run = handle.call(begin).await.unwrap();

        // The first connection is busy until the second has answered.
        let (answered, answer) = std::sync::mpsc::channel();
        let busy =
            handle.call(move |_| Ok(answer.recv_timeout(std::time::Duration::from_secs(10))));
        let ask = async {
            let runs = another.call(|store| store.unfinished_runs()).await;
            answered.send(()).unwrap();
            runs
        };
        let (busy, runs) = tokio::join!(busy, ask);
        assert_eq!(busy.unwrap(), Ok(()));
        assert_eq!(runs.unwrap().first().map(|row| row.id), Some(run));
    }
}
