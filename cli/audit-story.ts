/** What happened, told from the audit log alone: on the server's export, or on one in a file. */
import { createReadStream, createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { AuditView, Proof, Story, StoryEntry, StoryOf, Told } from '@centaur/kernel/audit';
import { connect } from './api.ts';
import { readTextFile } from './arguments.ts';
import { EXIT, UsageError } from './exit.ts';
import { clock, note, paint, print, printable, printJson } from './output.ts';

interface Options {
  readonly file?: string;
  readonly key?: string;
  readonly json?: true;
}

/** Whether the policy says again what it said. `unknown`: what went into the decision is not in the log. */
type Repeated = 'same' | 'different' | 'unknown';

interface Line extends Told {
  readonly repeated?: Repeated;
}

export async function tellFromAudit(of: StoryOf, options: Options): Promise<void> {
  const anchor = options.key === undefined ? undefined : await readTextFile(options.key);
  const folder = options.file === undefined ? mkdtempSync(path.join(tmpdir(), 'centaur-audit-')) : undefined;
  try {
    const file = options.file ?? (await download(path.join(folder as string, 'export.jsonl')));
    const { tellStory } = await import('@centaur/kernel/audit');
    const story = await tellStory(() => linesOf(file), of, anchor);
    const decide = await decider(story);
    const lines = story.told.map((told): Line => {
      const repeated = repeat(told.entry, decide);
      return repeated === undefined ? told : { ...told, repeated };
    });
    const tail = options.file === undefined ? await unsealed(of, story) : [];
    show(story, lines, tail, options);
  } finally {
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  }
}

/** It is read twice, and the second reading must see what the first one saw. */
async function download(file: string): Promise<string> {
  await pipeline(Readable.from(await connect().exportAudit()), createWriteStream(file, { mode: 0o600 }));
  return file;
}

async function* linesOf(file: string): AsyncGenerator<string> {
  const stream = createReadStream(file);
  try {
    yield* createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw new UsageError(`--file: there is no file ${file}`, { cause: error });
    throw error;
  }
}

type Decide = (version: number, request: unknown) => { readonly effect: string; readonly rule: string | null } | undefined;

/** By the texts that the log proves. The built-in policy is a part of Centaur. */
async function decider({ policies }: Story): Promise<Decide> {
  const { BUILTIN_POLICY, compilePolicy } = await import('@centaur/kernel/policy');
  const compiled = new Map<number, ReturnType<typeof compilePolicy>['policy']>();
  return (version, request) => {
    const text = version === 0 ? BUILTIN_POLICY : policies.get(version);
    if (text === undefined) return undefined;
    if (!compiled.has(version)) compiled.set(version, compilePolicy(text).policy);
    try {
      return compiled.get(version)?.decide(request as never);
    } catch {
      return undefined;
    }
  };
}

/** Undefined of an entry that no policy decided. */
function repeat({ action, details }: StoryEntry, decide: Decide): Repeated | undefined {
  const { policy, rule, request, code, approval_id: approval, limits_used_up: exhausted } = details ?? {};
  if (typeof policy !== 'number') return undefined;
  if (typeof request !== 'object' || request === null) return 'unknown';
  const again = decide(policy, request);
  if (again === undefined) return 'unknown';
  // a limit that is used up asks a person for what the rule allows
  const effects =
    action === 'egress.intent'
      ? approval === undefined
        ? ['allow']
        : exhausted === undefined
          ? ['approve']
          : ['approve', 'allow']
      : code === 'POLICY_DENIED'
        ? ['deny']
        : ['approve', 'allow'];
  return again.rule === (rule ?? null) && effects.includes(again.effect) ? 'same' : 'different';
}

const TAIL_MOST = 500;

/** What the server has about it, and no batch covers yet. */
async function unsealed({ runId, traceId, threadKey }: StoryOf, { told }: Story): Promise<readonly AuditView[]> {
  const { items } = await connect().listAudit({ run_id: runId, trace_id: traceId, thread_key: threadKey, limit: TAIL_MOST });
  const sealed = new Set(told.map(({ entry }) => entry.id));
  const last = told.at(-1)?.entry.id ?? '';
  return items.filter(({ id }) => !sealed.has(id) && id > last).toReversed();
}

function show({ report, told }: Story, lines: readonly Line[], tail: readonly AuditView[], options: Options): void {
  const open = lines.filter(({ outcome }) => outcome === null).length;
  const different = lines.filter(({ repeated }) => repeated === 'different').length;
  const repeated = lines.filter((line) => line.repeated === 'same').length;
  const broken = lines.filter(({ proof }) => proof === 'broken').length;
  const ok = report.findings.length === 0 && different === 0 && broken === 0;
  process.exitCode = ok ? (told.length === 0 && tail.length === 0 ? EXIT.notFound : EXIT.ok) : EXIT.different;
  if (options.json)
    return printJson({
      ok,
      entries: lines,
      unsealed: tail,
      open_intents: open,
      decisions: { repeated, different, unknown: lines.filter((line) => line.repeated === 'unknown').length },
      log: { entries: report.entries, batches: report.batches, checkpoints: report.checkpoints, pruned: report.pruned },
      findings: report.findings.map(({ batch, auditId, problem }) => ({ batch, audit_id: auditId, problem })),
    });
  for (const line of lines) print(lineText(line));
  for (const entry of tail) print(`${entryText(entry)}  ${paint('yellow', 'not sealed yet')}`);
  if (lines.length + tail.length === 0) note('the log has nothing about it');
  for (const { batch, auditId, problem } of report.findings.slice(0, 100))
    print(
      `${paint('red', 'found')}  ${[batch === null ? '' : `batch ${batch}`, auditId ?? ''].filter(Boolean).join(', ')} ${printable(problem)}`,
    );
  const parts = [
    `${lines.length} of ${report.entries} entries`,
    `${lines.filter(({ proof }) => proof === 'signed').length} under a signed checkpoint`,
    open > 0 ? paint('yellow', `${open} without an outcome`) : '',
    repeated > 0 ? `${repeated} decisions come out the same` : '',
    different > 0 ? paint('red', `${different} decisions come out different`) : '',
  ];
  print(`${parts.filter(Boolean).join(', ')}: ${ok ? paint('green', 'as they were written') : paint('red', 'not as they were written')}`);
}

const PROOF: Readonly<Record<Proof, string>> = { signed: '', sealed: 'sealed, not signed yet', broken: 'the proof fails' };

function lineText({ entry, batch, proof, outcome, repeated }: Line): string {
  const marks = [
    outcome === null ? paint('yellow', 'no outcome is known') : '',
    repeated === 'same' ? 'decided the same again' : repeated === 'different' ? paint('red', 'decided differently now') : '',
    paint(proof === 'broken' ? 'red' : 'dim', [`batch ${batch}`, PROOF[proof]].filter(Boolean).join(', ')),
  ];
  return [entryText(entry), ...marks].filter(Boolean).join('  ');
}

function entryText(entry: StoryEntry): string {
  return [paint('dim', clock(entry.at)), entry.action.padEnd(16), entry.decision ?? '', printable(entry.actor), printable(aboutText(entry))]
    .filter(Boolean)
    .join('  ');
}

interface SealedRun {
  readonly run_id: string;
  readonly workflow: string;
  readonly status: string;
  readonly started_at: string | null;
  readonly ended_at: string;
  readonly steps: number;
  readonly by?: string;
}

function aboutText({ action, resource, details = {} }: StoryEntry): string {
  if (action === 'journal.seal') return (details['runs'] as SealedRun[]).map(sealText).join('; ');
  const { rule, policy, gate, code, status, reason, principal } = details;
  const facts = Object.entries({ rule, policy, gate, code, status, reason, principal }).flatMap(([name, value]) =>
    ['string', 'number', 'boolean'].includes(typeof value) ? [`${name}=${String(value).slice(0, 80)}`] : [],
  );
  return [resource ?? '', ...facts].filter(Boolean).join(' ');
}

function sealText({ run_id, workflow, status, started_at, ended_at, steps, by }: SealedRun): string {
  const times = started_at === null ? `ended ${ended_at}` : `from ${started_at} to ${ended_at}`;
  return `${workflow} ${run_id} ${status}, ${times}, ${steps} steps${by === undefined ? '' : `, asked for by ${by}`}`;
}
