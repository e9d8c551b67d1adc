/** Replaying runs: over their journal, or from the audit log alone. */
import type { Command } from 'commander';
import { connect, type Replay } from '../api.ts';
import { examples, readJson, wholeNumber, withJson } from '../arguments.ts';
import { EXIT, HintedError, UsageError } from '../exit.ts';
import { note, paint, print, printable, printJson } from '../output.ts';
import { tellFromAudit } from '../audit-story.ts';

const EXAMPLE = '0198c0de-0000-7000-8000-000000000000';

interface Options {
  readonly sameCode?: true;
  readonly timeout?: number;
  readonly forkFrom?: string;
  readonly input?: string;
  readonly anyway?: true;
  readonly fromAudit?: true;
  readonly run?: string;
  readonly trace?: string;
  readonly thread?: string;
  readonly file?: string;
  readonly key?: string;
  readonly json?: true;
}

export function addReplay(program: Command): void {
  const replay = program
    .command('replay')
    .summary('Replay a run that has ended, without side effects; or tell what happened from the audit log alone.')
    .description(
      'Replay a run that has ended: its journal is held against its seal, then its handler is called again over it, without any side effect, ' +
        'to the first difference. With --fork-from, go on live from a step as a new run. With --from-audit, tell from the audit log alone what ' +
        'happened, each entry with its proof. The exit code is 0 when all is the same, 6 when something differs, 1 when it could not be told.',
    )
    .argument('[run]', 'id of the run')
    .option('--same-code', 'by the code with which the run ended; refused where that is not loaded any more')
    .option('--timeout <seconds>', 'how long a replay may take, 1 to 300 (default: 60)', wholeNumber(1, 300))
    .option(
      '--fork-from <step>',
      'when all before it is the same, start a new run that executes from this step on: its name, or its number',
    )
    .option('--input <json>', 'of the new run, instead of the input of the one that is forked: JSON, @file, or - for stdin')
    .option('--anyway', 'fork also from a journal that is not the one that was sealed, or where the code does not come to the step')
    .option('--from-audit', 'tell what happened, from the audit log alone')
    .option('--run <run>', 'with --from-audit: what concerns this run')
    .option('--trace <trace>', 'with --from-audit: what concerns this trace, 32 hex digits')
    .option('--thread <key>', 'with --from-audit: what concerns this thread')
    .option('--file <export>', 'with --from-audit: from this export instead of the server')
    .option('--key <file>', 'with --from-audit: a public key or checkpoints that were kept elsewhere')
    .action(go);
  examples(
    withJson(replay),
    `centaur replay ${EXAMPLE}`,
    `centaur replay ${EXAMPLE} --fork-from charge`,
    `centaur replay --from-audit --run ${EXAMPLE} --file audit.jsonl`,
  );
}

async function go(runId: string | undefined, options: Options): Promise<void> {
  if (options.fromAudit) {
    if (options.forkFrom !== undefined) throw new UsageError('--fork-from: needs the journal of a run; leave --from-audit out');
    const of = { runId: options.run ?? runId, traceId: options.trace, threadKey: options.thread };
    if (Object.values(of).filter((each) => each !== undefined).length !== 1)
      throw new UsageError('--from-audit: name one of --run, --trace and --thread');
    return tellFromAudit(of, options);
  }
  for (const name of ['run', 'trace', 'thread', 'file', 'key'] as const)
    if (options[name] !== undefined) throw new UsageError(`--${name}: goes with --from-audit`);
  if (runId === undefined) throw new UsageError('run: expected the id of a run');
  const report = await connect().replayRun(runId, {
    ...(options.sameCode ? { code: 'same' } : {}),
    ...(options.timeout === undefined ? {} : { timeout_seconds: options.timeout }),
  });
  if (options.forkFrom !== undefined) return fork(runId, report, options.forkFrom, options);
  process.exitCode = report.verdict === 'same' ? EXIT.ok : EXIT.different;
  if (options.json) printJson(report);
  else print(replayText(report));
}

/** The part before the step must be what was sealed, and what the code does. */
async function fork(runId: string, report: Replay, from: string, options: Options): Promise<void> {
  const api = connect();
  const fromStep = /^\d+$/.test(from) ? Number(from) : from;
  const step = (await api.getRun(runId)).steps.find(({ seq, name }) => seq === fromStep || name === fromStep);
  if (step === undefined)
    throw new HintedError(`run ${runId} has no step ${JSON.stringify(from)}`, `"centaur runs show ${runId}" lists them.`);
  const why = refusal(report, step.seq);
  if (why !== undefined && !options.anyway) {
    process.exitCode = EXIT.different;
    if (options.json) return printJson({ ...report, forked: null });
    print(replayText(report));
    return note(`not forked: ${why}; --anyway forks all the same`);
  }
  const input = await readJson(options.input, '--input');
  const forked = await api.forkFrom(runId, {
    from_step: step.seq,
    ...(options.input === undefined ? {} : { input }),
    ...(options.anyway ? { tampered: 'accept' } : {}),
  });
  if (options.json) return printJson({ ...report, forked: forked.run_id });
  note(`${report.verdict}; goes on from "${printable(step.name)}"`);
  print(forked.run_id);
}

function refusal(report: Replay, seq: number): string | undefined {
  if (report.verdict === 'tampered') return 'the journal is not the one that was sealed';
  const at = report.difference?.seq;
  return at !== null && at !== undefined && at < seq ? `the code differs from the journal before that step, at call ${at}` : undefined;
}

function replayText({ run_id, workflow_name, verdict, journal, difference, calls, code }: Replay): string {
  const lines = [
    `${paint('bold', workflow_name)} ${verdict === 'same' ? paint('green', 'same') : paint('red', verdict)}`,
    `  run      ${run_id}`,
  ];
  if (journal.state === 'intact') lines.push(`  journal  as it was sealed ${journal.sealed_at}, in audit entry ${journal.audit_id}`);
  else if (journal.state === 'unsealed') lines.push(`  journal  not sealed: ${UNSEALED[journal.why]}`);
  else
    lines.push(
      '  journal  not the one that was sealed',
      ...journal.problems.map(
        ({ seq, step, problem }) =>
          `  ${paint('red', 'found')}    ${step === undefined ? '' : `call ${seq}, "${printable(step)}": `}${printable(problem)}`,
      ),
    );
  if (code !== null && calls !== null) {
    lines.push(
      `  code     ${code.same ? `the same, ${code.present}` : `${code.present}; the run ended with ${code.recorded ?? 'no version'}`}`,
    );
    lines.push(`  calls    ${calls.replayed} of ${calls.recorded} made again`);
  }
  if (difference !== null)
    lines.push(
      `  ${paint('red', 'differs')}  ${printable(difference.message)}`,
      `  expected ${printable(JSON.stringify(difference.expected))}`,
      `  found    ${printable(JSON.stringify(difference.found))}`,
    );
  return lines.join('\n');
}

const UNSEALED = {
  pending: 'it has ended just now; ask again in some seconds',
  never: 'it ended before journals were sealed',
  no_key: 'the server has no master key',
};
