/** What is left behind: the events, as Postgres and every reader have them, and the audit log. */
import { verifyLog } from '@centaur/kernel/audit';
import type { Expect } from '../expect.ts';
import * as screen from '../screen.ts';
import { idsOf, rangesOf } from './events.ts';
import type { Platform } from './platform.ts';
import { FORBIDDEN_HOST } from './powers.ts';
import type { Reader, Seen } from './reader.ts';

export async function showEvents(
  { store, keys, thread }: Platform,
  { witness, unsteady, resumed, late }: Readonly<Record<'witness' | 'unsteady' | 'resumed' | 'late', Reader>>,
  expect: Expect,
): Promise<void> {
  const { rows } = await store.query<{ id: number; data: string }>(
    'select event_id as id, event_json::text as data from agent_execution_events where thread_key = $1 order by event_id',
    [thread],
  );
  const stored = rows.map(({ id }) => id);
  // what is stored is not with every reader at once
  for (const reader of [witness, resumed, late]) await reader.until('the last event', ({ id }) => id >= (stored.at(-1) ?? 0));
  const numbered = expect(
    stored.length > 0 && stored.every((id, index) => id === index + 1),
    `the events in Postgres are ${rangesOf(stored)}`,
  );
  screen.line(numbered ? 'completed' : 'killed', 'Postgres', `events ${rangesOf(stored)}: no gap, no double`);
  const cut = unsteady.events.length;
  for (const [name, what, events] of [
    ['never cut off', '', witness.events],
    ['cut off', ` + Last-Event-ID: ${cut}`, [...unsteady.events, ...resumed.events]],
    ['late', ` + after_event_id=${cut}`, [...unsteady.events, ...late.events]],
  ] as const) {
    const parts =
      what === '' ? rangesOf(idsOf(events)) : `${rangesOf(idsOf(unsteady.events))}${what} → ${rangesOf(idsOf(events.slice(cut)))}`;
    const same = expect(isSame(events, witness.events) && events.length === stored.length, `the reader that was ${name} got ${parts}`);
    screen.line(same ? 'completed' : 'killed', `reader, ${name}`, `events ${parts}${same ? '' : ': NOT what was stored'}`);
  }
  const leaks = rows.filter(({ data }) => Object.values(keys).some((key) => data.includes(key))).length;
  expect(leaks === 0, `a key is in ${leaks} events`);
  screen.line(
    leaks === 0 ? 'completed' : 'killed',
    'the keys',
    leaks === 0 ? `are in none of the ${rows.length} events` : `are in ${leaks} events`,
  );
}

export async function showAudit({ store, installation, keys }: Platform, expect: Expect): Promise<void> {
  const { macKey, signer, sealer } = installation;
  await sealer.seal();
  const { entries, batches, findings } = await verifyLog(store, { macKey, rawPublicKey: signer.rawPublicKey });
  const { rows } = await store.query<{ action: string; entry: string }>('select action, entry from audit_log');
  const refusals = rows.filter(({ action, entry }) => action === 'egress.deny' && entry.includes(FORBIDDEN_HOST)).length;
  expect(!rows.some(({ entry }) => Object.values(keys).some((key) => entry.includes(key))), 'a key is in the audit log');
  expect(refusals > 0, 'the refusal is not in the audit log');
  const clean = expect(findings.length === 0 && entries > 0, `the audit log does not verify: ${findings[0]?.problem}`);
  screen.line(
    clean ? 'completed' : 'killed',
    'the audit log',
    clean ? `${entries} entries in ${batches} sealed batches, all as they were written` : String(findings[0]?.problem),
  );
}

function isSame(events: readonly Seen[], others: readonly Seen[]): boolean {
  return JSON.stringify(events) === JSON.stringify(others);
}
