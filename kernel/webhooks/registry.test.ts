import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RegisteredWorkflow } from '../engine/index.ts';
import { createRegistry as createWorkflows } from '../../test/support/registry.ts';
import { createRegistry } from './registry.ts';

const hook = (slug: string, more: object = {}) => ({ slug, auth: { type: 'github', secret_ref: 'S' }, ...more });

function start(...workflows: readonly (readonly [name: string, ...webhooks: readonly unknown[]])[]) {
  const files = new Map(workflows.map(([name, ...webhooks]) => [name, webhooks]));
  const listeners = new Set<() => void>();
  const logs: { message: string; slug?: unknown; workflow_name?: unknown }[] = [];
  const kept: string[][] = [];
  const registry = createRegistry({
    workflows: {
      ...createWorkflows(),
      list: () =>
        [...files].map(([name, webhooks]): RegisteredWorkflow => ({
          name,
          version: 'v1',
          source: `/w/${name}.ts`,
          handler: () => null,
          webhooks,
        })),
      onChange(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    log: (entry) => logs.push(entry),
    onChange: (slugs) => kept.push([...slugs]),
  });
  return {
    registry,
    logs,
    kept,
    change(name: string, ...webhooks: readonly unknown[]) {
      if (webhooks.length === 0) files.delete(name);
      else files.set(name, [...webhooks]);
      for (const listener of listeners) listener();
    },
    owner: (slug: string) => registry.get(slug)?.workflow,
  };
}

test('a slug comes and goes with its file', () => {
  const t = start(['a', hook('one')]);
  assert.equal(t.owner('one'), 'a');
  t.change('b', hook('two'), hook('three', { enabled: false }));
  assert.deepEqual([t.owner('two'), t.owner('three')], ['b', undefined]);
  assert.deepEqual(
    t.registry.list().map(({ spec }) => spec.slug),
    ['one', 'three', 'two'],
  );
  t.change('a');
  assert.equal(t.owner('one'), undefined);
  assert.deepEqual(
    t.logs.map(({ message, slug, workflow_name }) => [message, slug, workflow_name]),
    [
      ['workflow_webhook_registered', 'one', 'a'],
      ['workflow_webhook_registered', 'two', 'b'],
      ['workflow_webhook_registered', 'three', 'b'],
      ['workflow_webhook_removed', 'one', 'a'],
    ],
  );
  assert.deepEqual(t.kept.at(-1), ['two', 'three']);
});

test('a slug that is served is not taken by a file that comes later, whatever its name', () => {
  const t = start(['m', hook('one')]);
  t.change('a', hook('one', { auth: 'none' }));
  assert.equal(t.owner('one'), 'm');
  assert.equal(t.registry.get('one')?.spec.auth.type, 'github');
  assert.deepEqual(t.registry.problems(), [{ workflow: 'a', file: '/w/a.ts', message: 'the slug "one" is held by the workflow m' }]);
  t.change('m', hook('other'));
  assert.equal(t.owner('one'), 'a', 'given up, it is free');
});

test('a slug is held while its declaration is refused: nobody is served, and no other workflow', () => {
  const t = start(['m', hook('one')]);
  t.change('a', hook('one', { auth: 'none' }));
  t.change('m', hook('one', { auth: 'oops' }));
  assert.equal(t.owner('one'), undefined);
  assert.equal(t.registry.problems().length, 2);
  t.change('m', hook('one', { auth: { type: 'github', secret_ref: 'CENTAUR_MASTER_KEY' } }));
  assert.equal(t.owner('one'), undefined);
  t.change('m', hook('one'));
  assert.equal(t.owner('one'), 'm');
});

test('of two that are there at the start neither is served, until one gives it up', () => {
  const t = start(['z', hook('one')], ['b', hook('one')]);
  assert.equal(t.owner('one'), undefined);
  assert.deepEqual(
    t.registry.problems().map(({ workflow }) => workflow),
    ['b', 'z'],
  );
  t.change('b');
  assert.equal(t.owner('one'), 'z');
});

test('what is not understood, reserved, or verified by a key of ours is refused and told once; the others are served', () => {
  const t = start([
    'a',
    hook('fine'),
    hook('odd', { auth: { type: 'perhaps', secret_ref: 'S' } }),
    hook('slack'),
    hook('github-bot'),
    hook('deliveries'),
    hook('ours', { auth: { type: 'bearer', secret_ref: 'CENTAUR_MASTER_KEY' } }),
    'bare',
  ]);
  assert.deepEqual(
    t.registry.list().map(({ spec }) => spec.slug),
    ['fine'],
  );
  const problems = t.registry.problems().map(({ message }) => message);
  for (const expected of [
    /WEBHOOKS\[1\]/,
    /WEBHOOKS\[2\].*slack is reserved/,
    /WEBHOOKS\[3\].*github-bot is reserved/,
    /"deliveries" is a path of the API/,
    /CENTAUR_MASTER_KEY is the inst/,
    /WEBHOOKS\[6\]/,
  ])
    assert.ok(
      problems.some((message) => expected.test(message)),
      `${expected} in ${problems.join('\n')}`,
    );
  const told = t.logs.length;
  t.change('b', hook('more'));
  assert.equal(t.logs.length, told + 1, 'a problem that is known is not told again');
});

test('nothing changes after the registry was closed', () => {
  const t = start(['a', hook('one')]);
  t.registry.close();
  t.change('a');
  assert.equal(t.owner('one'), 'a');
});
