//! Addresses of services that are not those of their instances.
//!
//! Deliberately absent: who listens there.

use rusqlite::params;

use super::rows::{AddressId, ServiceAddress};
use super::sql_types::{json, to_json};
use super::{Store, StoreError};

impl Store {
    /// Records where a service is reached. The record goes with its run and with its instance.
    pub fn record_address(&mut self, address: &ServiceAddress) -> Result<AddressId, StoreError> {
        self.write("record an address", |transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO service_addresses (service_id, run_id, instance_id, address, ports)
                     VALUES (?1, ?2, ?3, ?4, ?5) RETURNING id",
                )?
                .query_row(
                    params![
                        address.service,
                        address.run,
                        address.instance,
                        address.reached.address(),
                        to_json(&address.reached)?
                    ],
                    |row| row.get(0),
                )
        })
    }

    /// Every address on record, oldest first.
    pub fn addresses(&self) -> Result<Vec<(AddressId, ServiceAddress)>, StoreError> {
        self.read("read the addresses", |connection| {
            connection
                .prepare_cached("SELECT * FROM service_addresses ORDER BY id")?
                .query_map([], |row| {
                    let address = ServiceAddress {
                        service: row.get("service_id")?,
                        run: row.get("run_id")?,
                        instance: row.get("instance_id")?,
                        reached: json(row, "ports")?,
                    };
                    Ok((row.get("id")?, address))
                })?
                .collect()
        })
    }

    /// Forgets an address: nobody listens there any more.
    pub fn forget_address(&mut self, address: AddressId) -> Result<(), StoreError> {
        self.write("forget an address", |transaction| {
            transaction
                .prepare_cached("DELETE FROM service_addresses WHERE id = ?1")?
                .execute([address])
                .map(drop)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::{Ending, InstanceExit};
    use super::super::tests::{at, identity, journalled, service, store};
    use super::*;
    use crate::config::placeholder::Where;

    #[test]
    fn an_address_outlives_instances_and_one_of_a_single_instance_goes_with_it() {
        let (_dir, mut store) = store();
        let service = service(&mut store, "api");
        let runs = [1, 2].map(|pid| store.begin_run(&identity(pid), false, at(0)).unwrap());
        // Two runs have the same service, each its own instances and its own address.
        let address = |run, port| ServiceAddress {
            service,
            run,
            instance: None,
            reached: Where {
                host: "127.0.0.1".into(),
                port: Some(port),
                ..Where::default()
            },
        };
        let [first, second] = [address(Some(runs[0]), 8_001), address(Some(runs[1]), 8_002)];
        let ids = [&first, &second].map(|new| store.record_address(new).unwrap());
        let id = journalled(&mut store, service, "api-1", 0).id; // of the first run
        let only = ServiceAddress {
            instance: Some(id.clone()),
            ..address(Some(runs[0]), 8_003)
        };
        store.record_address(&only).unwrap();
        assert_eq!(store.addresses().unwrap().len(), 3);

        store
            .record_ended(&id, Ending::Stopped, &InstanceExit::default(), at(1))
            .unwrap();
        assert_eq!(
            store.addresses().unwrap().len(),
            3,
            "its door may have a caller left"
        );
        store.forget_instances(&[id]).unwrap();
        let left = [(ids[0], first), (ids[1], second)];
        assert_eq!(store.addresses().unwrap(), left);
        store.forget_address(ids[0]).unwrap();
        assert_eq!(store.addresses().unwrap(), left[1..]);
        store.forget_address(ids[1]).unwrap();
        assert!(store.addresses().unwrap().is_empty());
    }
}
