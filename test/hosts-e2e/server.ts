/** `centaur up` in an empty home, with each workflow in a sandbox of its own, and a shell beside it that calls it with curl. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { createLocalBackend } from '../../runtime/sandbox/local/index.ts';
import { createPlace, type Finished, type Place } from '../support/cli.ts';
import { freePort } from '../support/ports.ts';
import { eventually } from '../support/wait.ts';

export const SAMPLES = path.join(import.meta.dirname, '../../runtime/hosts/python/samples');

// oxlint-disable-next-line typescript/no-explicit-any -- answers of many shapes
type Answer = any;

export interface Server extends AsyncDisposable {
  readonly place: Place;
  readonly url: string;
  /** What it has logged so far. */
  readonly log: () => string;
  /** Copies a sample of the original's documents among the workflow files. */
  serve(sample: string): void;
  /** Runs a command that has to succeed, and gives its standard output. */
  centaur(...args: readonly string[]): Promise<string>;
  secret(name: string, value: string, ...args: readonly string[]): Promise<Finished>;
  /** Runs a line as a shell does, with the variables of the original's documents, and reads the JSON it prints. */
  shell(line: string): Promise<Answer>;
  /** Kills it, as a machine that loses its power does, and starts it again at the same address, when what is done meanwhile is done. */
  killed(meanwhile?: () => Promise<void>): Promise<void>;
  /** Of each workflow that is loaded, by name, the version. */
  versions(): Promise<Readonly<Record<string, string>>>;
  /** The run, once it has ended. */
  ended(run: string): Promise<Answer>;
  runsOf(workflow: string): Promise<readonly Answer[]>;
}

export interface ServerOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Of centaur.yaml. */
  readonly config?: string;
  readonly samples: readonly string[];
  /** Others that are there before it starts, by their path. */
  readonly files?: Readonly<Record<string, string>>;
}

export async function startServer({ env = {}, config, samples, files = {} }: ServerOptions): Promise<Server> {
  // agents reach the API by the port that was asked for
  const place = createPlace({ CENTAUR_DEMO: '1', WORKFLOW_HOSTS: '', PORT: String(await freePort()), ...env });
  const home = place.env['CENTAUR_HOME'] as string;
  const serve = (sample: string) => copyFileSync(path.join(SAMPLES, sample), path.join(place.folder, 'workflows', path.basename(sample)));
  for (const sample of samples) serve(sample);
  if (config !== undefined) writeFileSync(path.join(place.folder, 'centaur.yaml'), config);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(place.folder, name)), { recursive: true });
    writeFileSync(path.join(place.folder, name), text);
  }
  let running = await place.serve('up');
  const { url } = running;
  let before = '';
  const key = readFileSync(path.join(home, 'admin.key'), 'utf8').trim();
  const shell = async (line: string): Promise<Answer> => {
    const variables = { ...place.env, CENTAUR_API_URL: url, CENTAUR_API_KEY: key };
    const { stdout } = await promisify(execFile)('bash', ['-c', line], { env: variables });
    return JSON.parse(stdout);
  };
  const get = (at: string) => shell(`curl -s "$CENTAUR_API_URL${at}" -H "X-Api-Key: $CENTAUR_API_KEY"`);
  const centaur = async (...args: readonly string[]) => {
    const { code, stdout, stderr } = await place.run(args);
    assert.equal(code, 0, `centaur ${args.join(' ')}\n${stdout}${stderr}`);
    return stdout;
  };

  return {
    place,
    url,
    log: () => before + running.output.stdout + running.output.stderr,
    async killed(meanwhile) {
      running.child.kill('SIGKILL');
      await running.finished;
      try {
        await meanwhile?.();
      } finally {
        before += running.output.stdout + running.output.stderr;
        running = await place.serve('up');
      }
    },
    serve,
    centaur,
    secret: (name, value, ...args) => place.run(['secrets', 'set', name, '--value-stdin', ...args], { stdin: value }),
    shell,
    async versions() {
      const { items } = await get('/workflows');
      return Object.fromEntries(items.map((each: Answer) => [each.name, each.version]));
    },
    async ended(run) {
      let seen: Answer;
      await eventually(
        async () => {
          seen = await get(`/workflows/runs/${run}`);
          return ['completed', 'failed', 'cancelled', 'stuck'].includes(seen.status);
        },
        { timeoutMs: 240_000, what: `run ${run} to end` },
      );
      return seen;
    },
    runsOf: async (workflow) => (await get(`/workflows/runs?workflow_name=${workflow}`)).items,
    async [Symbol.asyncDispose]() {
      running.child.kill('SIGTERM');
      await running.finished;
      // they are meant to outlive their server
      await createLocalBackend({ stateDir: path.join(home, 'sandboxes') }).shutdown();
      await place[Symbol.asyncDispose]();
    },
  };
}
