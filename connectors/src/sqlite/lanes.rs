//! Lanes: one row each, changed in the same transaction as the records.

use super::append::Appender;
use super::fault::Result;
use distributary_runtime::bus::{BusError, LaneCommit, Marker, Token};
use distributary_runtime::time::Epoch;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

pub(super) fn fence(tx: &Transaction<'_>, lane: &str, token: Token) -> Result<Option<Marker>> {
    let found = read(tx, lane)?;
    if found.is_some_and(|(owner, _)| owner > token) {
        return Err(BusError::Fenced { lane: lane.to_string() }.into());
    }
    tx.prepare_cached("INSERT INTO lanes (name, token) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET token = excluded.token")?
        .execute(params![lane, token.0])?;
    Ok(found.and_then(|(_, marker)| marker))
}

pub(super) fn commit(tx: &Transaction<'_>, commit: &LaneCommit) -> Result<()> {
    if read(tx, &commit.lane)? != Some((commit.token, commit.previous)) {
        return Err(BusError::Fenced { lane: commit.lane.clone() }.into());
    }
    let mut appender = Appender::new(tx)?;
    for (topic, record) in &commit.records {
        appender.append(*topic, record)?;
    }
    appender.finish()?;
    tx.prepare_cached("UPDATE lanes SET generation = ?, epoch = ? WHERE name = ?")?.execute(params![
        commit.marker.generation,
        commit.marker.epoch.0,
        commit.lane
    ])?;
    Ok(())
}

fn read(connection: &Connection, lane: &str) -> Result<Option<(Token, Option<Marker>)>> {
    let sql = "SELECT token, generation, epoch FROM lanes WHERE name = ?";
    let found = connection.prepare_cached(sql)?.query_row([lane], |row| {
        let marker = match (row.get(1)?, row.get(2)?) {
            (Some(generation), Some(epoch)) => Some(Marker { generation, epoch: Epoch(epoch) }),
            _ => None,
        };
        Ok((Token(row.get(0)?), marker))
    });
    Ok(found.optional()?)
}
