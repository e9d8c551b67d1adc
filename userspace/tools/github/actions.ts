import { method, ToolFailure } from '@centaur/sdk';
import * as z from 'zod';
import { at } from '../_shared/rest.ts';
import { compact } from '../_shared/results.ts';
import { get, nextPage, paging, type Raw, type RawUser, repo, send } from './api.ts';

interface RawRun extends Raw {
  readonly name?: string | null;
  readonly display_title?: string;
  readonly run_number: number;
  readonly run_attempt?: number;
  readonly event: string;
  readonly status: string | null;
  readonly conclusion: string | null;
  readonly head_branch: string | null;
  readonly head_sha: string;
  readonly path?: string;
  readonly actor?: RawUser | null;
  readonly created_at: string;
  readonly updated_at: string;
}

interface RawJob {
  readonly id: number;
  readonly name: string;
  readonly status: string;
  readonly conclusion: string | null;
  readonly started_at?: string | null;
  readonly completed_at?: string | null;
  readonly html_url?: string | null;
  readonly steps?: readonly { readonly name: string; readonly number: number; readonly conclusion: string | null }[];
}

const run_id = z.int().positive();

export const actionMethods = {
  list_runs: method({
    description: 'Runs of GitHub Actions in a repository, newest first.',
    risk: 'read',
    input: z.strictObject({
      ...repo,
      workflow: z.string().optional().describe('Only of this workflow: the name of its file, as `ci.yml`, or its id'),
      branch: z.string().optional(),
      head_sha: z.string().optional(),
      event: z.string().optional().describe('`push`, `pull_request`, `schedule` …'),
      status: z
        .enum([
          'completed',
          'action_required',
          'cancelled',
          'failure',
          'neutral',
          'skipped',
          'stale',
          'success',
          'timed_out',
          'in_progress',
          'queued',
          'requested',
          'waiting',
          'pending',
        ])
        .optional()
        .describe('Status or conclusion'),
      ...paging,
    }),
    async run({ owner, repo, workflow, ...query }, ctx) {
      const actions = at`/repos/${owner}/${repo}/actions`;
      const path = workflow === undefined ? `${actions}/runs` : `${actions}${at`/workflows/${workflow}/runs`}`;
      const answer = await send<{ readonly total_count: number; readonly workflow_runs: readonly RawRun[] }>(ctx, { path, query });
      return { total: answer.data.total_count, items: answer.data.workflow_runs.map(toRun), ...nextPage(answer) };
    },
  }),

  get_run: method({
    description: 'One run with its jobs, and for each job that failed the steps that failed.',
    risk: 'read',
    input: z.strictObject({ ...repo, run_id }),
    async run(input, ctx) {
      const [run, { jobs }] = await Promise.all([
        get<RawRun>(ctx, runPath(input)),
        get<{ readonly jobs: readonly RawJob[] }>(ctx, `${runPath(input)}/jobs`, { per_page: 100 }),
      ]);
      return { ...toRun(run), jobs: jobs.map(toJob) };
    },
  }),

  rerun: method({
    description: 'Runs a run once more: all of it, or only the jobs that failed.',
    risk: 'write',
    input: z.strictObject({ ...repo, run_id, only_failed: z.boolean().default(false) }),
    async run({ only_failed, ...input }, ctx) {
      await send(ctx, { method: 'POST', path: `${runPath(input)}/${only_failed ? 'rerun-failed-jobs' : 'rerun'}` });
      return { run_id: input.run_id, requested: true };
    },
  }),

  // what the run has done so far stays done
  cancel_run: method({
    description: 'Asks a run that is going on to stop. It takes a moment: get_run tells when it has.',
    risk: 'write',
    idempotent: true,
    input: z.strictObject({ ...repo, run_id }),
    async run(input, ctx) {
      await send(ctx, { method: 'POST', path: `${runPath(input)}/cancel`, repeatable: true });
      return { run_id: input.run_id, requested: true };
    },
  }),

  get_logs_url: method({
    description:
      'Where the logs of a job (text) or of a whole run (a zip archive) can be fetched, without a key, for a minute or so. ' +
      'It is on another host, which whoever fetches it must be allowed to reach.',
    risk: 'read',
    input: z
      .strictObject({ ...repo, run_id: run_id.optional(), job_id: z.int().positive().optional().describe('Of get_run') })
      .refine(({ run_id, job_id }) => (run_id === undefined) !== (job_id === undefined), 'give run_id or job_id'),
    async run({ owner, repo, run_id, job_id }, ctx) {
      const what = job_id === undefined ? at`runs/${run_id ?? 0}` : at`jobs/${job_id}`;
      const { headers } = await send(ctx, { path: `${at`/repos/${owner}/${repo}/actions/`}${what}/logs`, stayHere: true });
      const url = headers.get('location');
      if (url === null) throw new ToolFailure('NOT_FOUND', 'GitHub has no logs for this yet, or no longer.');
      return { url };
    },
  }),
};

function runPath(input: { readonly owner: string; readonly repo: string; readonly run_id: number }): string {
  return at`/repos/${input.owner}/${input.repo}/actions/runs/${input.run_id}`;
}

function toRun(raw: RawRun): Record<string, unknown> {
  return compact({
    id: raw.id,
    workflow: raw.name,
    file: raw.path,
    title: raw.display_title,
    number: raw.run_number,
    attempt: raw.run_attempt === 1 ? undefined : raw.run_attempt,
    event: raw.event,
    status: raw.status,
    conclusion: raw.conclusion,
    branch: raw.head_branch,
    head_sha: raw.head_sha,
    actor: raw.actor?.login,
    created_at: raw.created_at,
    updated_at: raw.updated_at,
    url: raw.html_url,
  });
}

function toJob(raw: RawJob): Record<string, unknown> {
  const failed = raw.steps?.filter(({ conclusion }) => conclusion === 'failure').map(({ number, name }) => `${number}: ${name}`);
  return compact({
    id: raw.id,
    name: raw.name,
    status: raw.status,
    conclusion: raw.conclusion,
    started_at: raw.started_at,
    completed_at: raw.completed_at,
    failed_steps: failed?.length ? failed : undefined,
    url: raw.html_url,
  });
}
