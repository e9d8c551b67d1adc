/** What tests of sandboxes share: a state folder of their own, with a holder that ends with the test. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { ensureBubblewrap } from '../../test/support/bubblewrap.ts';
import { createLocalBackend, type LocalBackend, type LocalOptions } from './local/index.ts';
import { SandboxError } from './errors.ts';
import type { ExecResult, JournalEntry, Sandbox, SandboxErrorCode, SandboxLimits, SandboxSpec } from './types.ts';

export const LIMITS: SandboxLimits = { memoryMb: 256, processes: 64, diskMb: 64, tmpMb: 16, cpus: 2 };

export function specOf(id: string, more: Partial<SandboxSpec> = {}): SandboxSpec {
  return { id, labels: {}, limits: LIMITS, mounts: [], relays: [], ...more };
}

export function temporaryState(): { readonly stateDir: string; remove(): void } {
  const stateDir = mkdtempSync(join(tmpdir(), 'centaur-sbx-'));
  return { stateDir, remove: () => rmSync(stateDir, { recursive: true, force: true }) };
}

/** A backend whose holder and files are gone after the test. */
export function openBackend(
  t: Pick<TestContext, 'after'>,
  options: Partial<LocalOptions> = {},
): LocalBackend & { readonly stateDir: string } {
  ensureBubblewrap();
  const { stateDir, remove } = temporaryState();
  const backend = createLocalBackend({ stateDir, memoryReserveMb: 64, ...options });
  t.after(async () => {
    await backend.shutdown();
    remove();
  });
  return { ...backend, stateDir };
}

/** A shell script in the sandbox. */
export function sh(sandbox: Sandbox, script: string, timeoutMs = 20_000): Promise<ExecResult> {
  return sandbox.exec({ argv: ['/bin/sh', '-c', script], timeoutMs, maxOutputBytes: 1024 * 1024 });
}

export async function output(sandbox: Sandbox, script: string): Promise<string> {
  const result = await sh(sandbox, script);
  assert.equal(result.code, 0, `${result.stderr.toString()} (${result.reason} ${result.signal})`);
  return result.stdout.toString().trim();
}

export async function collect(entries: AsyncIterable<JournalEntry>): Promise<JournalEntry[]> {
  const all: JournalEntry[] = [];
  for await (const entry of entries) all.push(entry);
  return all;
}

/** The output of a journal in one piece. */
export function written(entries: readonly JournalEntry[], kind: 'out' | 'err' | 'in'): Buffer {
  return Buffer.concat(entries.flatMap((entry) => (entry.kind === kind ? [entry.data] : [])));
}

export function failsWith(code: SandboxErrorCode, pattern: RegExp = /./) {
  return (error: unknown): true => {
    assert.ok(error instanceof SandboxError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, pattern);
    return true;
  };
}
