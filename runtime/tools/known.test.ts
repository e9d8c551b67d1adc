import assert from 'node:assert/strict';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import type { HostTool } from '../hosts/protocol/messages.ts';
import { createKnownTools } from './known.ts';

const TOLD = { declared: { name: 'crm' } } as unknown as HostTool;

test('what was told is known at the next start, also under the key that it has by then, and to the same reader alone', (t) => {
  const folder = fs.mkdtempSync(path.join(tmpdir(), 'centaur-known-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const file = path.join(folder, 'tools.json');
  const open = (reader = 'r') => createKnownTools(file, reader, assert.fail);
  const first = open();
  first.set('old', TOLD);
  first.set('other', TOLD);
  first.keep(new Set(['old', 'other']));
  const second = open();
  second.copy('old', 'new');
  second.keep(new Set(['new']));
  const third = open();
  assert.deepEqual([third.get('new'), third.get('old'), third.get('other')], [TOLD, undefined, undefined]);
  assert.equal(open('another').get('new'), undefined);
  assert.deepEqual(fs.readdirSync(folder), ['tools.json']);
});

test('a place where nothing can be written is told of, and stops nothing', (t) => {
  const folder = fs.mkdtempSync(path.join(tmpdir(), 'centaur-known-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  fs.writeFileSync(path.join(folder, 'file'), '');
  const faults: Error[] = [];
  const known = createKnownTools(path.join(folder, 'file', 'tools.json'), 'r', (error) => void faults.push(error));
  known.set('a', TOLD);
  known.keep(new Set(['a']));
  assert.equal(faults.length, 1);
  assert.equal(known.get('a'), TOLD);
});
