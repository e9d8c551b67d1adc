/** Replaying runs, and holding journals against their seals. */
import { checkJournal, checkJournals, type JournalCheck, type JournalProblem } from '../../journal/index.ts';
import { ApiError } from '../errors.ts';
import { JournalsBody, JournalsSchema, ReplayBody, ReplaySchema } from '../replay-schemas.ts';
import { ok, route } from '../route.ts';
import { RunPath } from '../schemas.ts';
import { authoriseRead } from '../scopes.ts';
import { installationOf, type Services } from '../services.ts';

export const replayRoutes = [
  route({
    id: 'replayRun',
    method: 'POST',
    path: '/workflows/runs/{run_id}/replay',
    group: 'Runs',
    summary: 'Replay a run that has ended over its journal, without side effects, to the first difference',
    description:
      'The journal is held against its seal in the audit log first. Then the handler is called again in a process to spare: each call gets the ' +
      'outcome that the journal has, no function of a step is run, and nothing is written. Answers 200 with the verdict, whichever it is.',
    access: { scope: 'workflows.read', perWorkflow: true },
    params: RunPath,
    body: ReplayBody,
    example: {},
    responses: { 200: { description: 'The verdict', schema: ReplaySchema } },
    errors: ['RUN_NOT_FOUND', 'RUN_NOT_ENDED', 'UNKNOWN_WORKFLOW', 'CODE_CHANGED', 'REPLAY_STOPPED', 'REPLAY_BUSY', 'REPLAYS_UNAVAILABLE'],
    async handle({ params, body, caller }, services) {
      const began = performance.now();
      const run = await services.engine.getRun(params.run_id);
      authoriseRead(caller, run.workflow_name);
      const { replays } = services;
      if (replays === undefined) throw new ApiError('REPLAYS_UNAVAILABLE', 'this process replays no runs');
      const journal = await sealOf(services, run.run_id);
      if (journal?.state === 'tampered') {
        const { run_id, workflow_name, status, attempt } = run;
        const ms = Math.round(performance.now() - began);
        return ok({ run_id, workflow_name, status, attempt, verdict: 'tampered', difference: null, journal, calls: null, code: null, ms });
      }
      const { code, timeout_seconds: seconds } = body;
      const report = await replays.replay(
        { runId: run.run_id, workflow: run.workflow_name, version: run.workflow_version },
        { code, timeoutMs: seconds === undefined ? undefined : seconds * 1000 },
      );
      return ok({ ...report, journal: journal ?? { state: 'unsealed', why: 'no_key' } });
    },
  }),
  route({
    id: 'verifyJournals',
    method: 'POST',
    path: '/audit/journals/verify',
    group: 'Audit',
    summary: 'Hold the journals of ended runs against their seals, some hundred at a time',
    description:
      'Goes through the seals from the oldest on: ask again with `after` until `next` is null. The audit log itself is verified by `/audit/verify`.',
    access: { scope: 'audit.read' },
    body: JournalsBody,
    example: {},
    responses: { 200: { description: 'What it found', schema: JournalsSchema } },
    errors: ['VAULT_UNAVAILABLE'],
    async handle({ body }, services) {
      const { store, macKey } = installationOf(services);
      return ok(await checkJournals(store, macKey, { after: body.after, retentionDays: services.retentionDays }));
    },
  }),
];

/** Undefined of a run that has not ended, and in a process that lacks the keys. */
export async function sealOf({ trust }: Services, runId: string): Promise<JournalCheck | undefined> {
  if (trust === undefined) return undefined;
  const { store, macKey } = trust.installation;
  return checkJournal(store, macKey, runId.toLowerCase());
}

const TOLD_MOST = 5;

export function told(problems: readonly JournalProblem[]): string {
  const texts = problems.slice(0, TOLD_MOST).map(({ step, problem }) => (step === undefined ? problem : `"${step}": ${problem}`));
  return problems.length > TOLD_MOST ? `${texts.join(', ')}, and ${problems.length - TOLD_MOST} more` : texts.join(', ');
}
