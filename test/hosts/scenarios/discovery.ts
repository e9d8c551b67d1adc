/** What the files hold, and what is wrong with them. */
import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, realpathSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { type Lab, type Scenario, discover, playStory, resultOf } from '../lab.ts';
import type { Message } from '../process.ts';
import { newStory } from '../story.ts';

interface Entry {
  readonly workflow_name: string;
  readonly source_path: string;
  readonly webhooks: readonly { readonly workflow_name: string; readonly source_path: string; readonly spec: Record<string, unknown> }[];
  readonly [field: string]: unknown;
}
interface Problem {
  readonly source_path: string;
  readonly message: string;
  readonly line?: number;
}

export const discoveryScenarios: readonly Scenario[] = [
  {
    area: 'discovery',
    name: 'every file with a workflow is found, and helpers are not',
    async run({ discovery }) {
      equal(discovery.protocol, 1);
      deepEqual(discovery.problems, []);
      const names = entries(discovery).map((entry) => entry.workflow_name);
      for (const name of ['steps', 'waits', 'checked', 'declared_one']) ok(names.includes(name), name);
      equal(new Set(names).size, names.length);
      for (const { source_path: path } of entries(discovery)) ok(isAbsolute(path), path);
    },
  },
  {
    area: 'discovery',
    name: 'what a file declares is told as it stands there',
    async run({ discovery }) {
      const one = entry(discovery, 'declared_one');
      deepEqual(one.schedule, { type: 'cron', cron: '0 9 * * 1-5', timezone: 'America/New_York', input: { profile: 'default' } });
      deepEqual([one.principal, one.agent_defaults, one.queue, one.retry], [true, { harness: 'codex' }, 'etl', { maxAttempts: 3 }]);
      deepEqual(one.webhooks, [
        {
          workflow_name: 'declared_one',
          source_path: one.source_path,
          spec: {
            slug: 'one',
            provider: 'github',
            auth: { type: 'github_hmac', secret_ref: 'GITHUB_WEBHOOK_SECRET' },
            trigger_key: { type: 'header', name: 'X-GitHub-Delivery' },
          },
        },
      ]);
    },
  },
  {
    area: 'discovery',
    name: 'there may be several schedules and webhooks',
    async run({ discovery }) {
      const many = entry(discovery, 'declared_many');
      deepEqual(many.schedule, [
        { type: 'interval', seconds: 300 },
        { type: 'cron', cron: '0 * * * *' },
      ]);
      deepEqual(
        many.webhooks.map(({ spec }) => [spec.slug, spec.auth]),
        [
          ['many-1', 'none'],
          ['many-2', { type: 'hmac', secret_ref: 'SECRET' }],
        ],
      );
    },
  },
  {
    area: 'discovery',
    name: 'webhooks that are objects are told in plain JSON',
    language: 'python',
    async run({ discovery }) {
      const [github, bearer] = entry(discovery, 'declared_objects').webhooks.map(({ spec }) => spec);
      equal(github?.slug, 'objects-1');
      match(JSON.stringify(github?.auth), /GITHUB_WEBHOOK_SECRET/);
      match(JSON.stringify(github?.auth), /X-Hub-Signature-256|github/i);
      match(JSON.stringify(github?.trigger_key), /X-GitHub-Delivery/i);
      deepEqual(github?.allowed_content_types, ['application/json']);
      match(JSON.stringify(bearer?.auth), /bearer.*TOKEN|TOKEN.*bearer/);
    },
  },
  {
    area: 'discovery',
    name: 'what is not declared is null, false or empty',
    async run({ discovery }) {
      const { schedule, principal, agent_defaults: defaults, queue, retry, webhooks, ...rest } = entry(discovery, 'steps');
      deepEqual([schedule, principal, defaults, queue, retry, webhooks], [null, null, null, null, null, []]);
      deepEqual([rest.has_input, rest.has_concurrency_key], [false, false]);
      equal(entry(discovery, 'checked').has_input, true);
    },
  },
  {
    area: 'discovery',
    name: 'one question and the end of the input: one answer, and the host ends well',
    async run({ start }) {
      const host = start();
      const lines: Message[] = [];
      host.listen((message) => void lines.push(message));
      host.write('{"type":"discover"}\n');
      host.end();
      deepEqual(await host.closed, { code: 0, signal: null });
      deepEqual(
        lines.map(({ type }) => type),
        ['workflow.discovery'],
      );
    },
  },
  {
    area: 'discovery',
    name: 'a later folder shadows an earlier one',
    async run({ start, command }) {
      const host = start({ WORKFLOW_DIRS: `${join(command.files, 'main')}:${join(command.files, 'later')}` });
      const found = await discover(host);
      const folder = (name: string): string => basename(dirname(entry(found, name).source_path));
      deepEqual([folder('only_later'), folder('steps'), folder('waits')], ['later', 'later', 'main']);
      deepEqual(found.problems, []);
      for (const name of ['only_later', 'steps']) {
        const { ended } = await playStory(host, newStory(name, null));
        equal(resultOf(ended), 'from the later folder');
      }
    },
  },
  {
    area: 'discovery',
    name: 'with WORKFLOW_FILE it is that file alone',
    async run({ start, discovery }) {
      const { source_path: file } = entry(discovery, 'ends');
      const host = start({ WORKFLOW_FILE: file });
      deepEqual(
        entries(await discover(host)).map(({ workflow_name: name }) => name),
        ['ends'],
      );
      const { ended } = await playStory(host, newStory('ends', { case: 'round_trip' }));
      deepEqual(resultOf(ended), ['1970-01-01', [1, 2]]);
    },
  },
  {
    area: 'discovery',
    name: 'a file that is broken is told, and stops no other',
    run: (lab) => withBroken(lab, brokenFiles),
  },
];

async function brokenFiles(lab: Lab, folder: string): Promise<void> {
  const host = lab.start({ WORKFLOW_DIRS: folder });
  const found = await discover(host);
  const problems = found.problems as readonly Problem[];
  const about = (file: string): Problem => {
    const each = problems.filter(({ source_path: path }) => basename(path).startsWith(`${file}.`));
    equal(each.length, 1, `${each.length} problems of ${file}: ${JSON.stringify(problems)}`);
    return each[0] as Problem;
  };
  equal(about('syntax_error').line, 4 + (lab.language === 'python' ? 1 : 0));
  match(about('missing_handler').message, /handler/);
  match(about('import_error').message, /not_there/);
  match(about('throws_on_load').message, /not today/);
  match(about('bad_webhook').message, /WEBHOOKS|webhook/);
  match(about('bad_schedule').message, /SCHEDULE|schedule/);
  match(about('twice_b').message, /twice/);
  deepEqual(
    entries(found)
      .map(({ workflow_name: name }) => name)
      .filter((name) => !name.startsWith('bad_'))
      .sort(),
    ['fine', 'twice'],
  );
  match(entry(found, 'twice').source_path, /twice_a/);
  for (const { source_path: path } of problems) ok(isAbsolute(path), path);
  const { ended } = await playStory(host, newStory('fine', null));
  equal(resultOf(ended), 'fine');
}

/** The broken files are kept under names that no tool takes for sources: `x.py.txt`. */
async function withBroken(lab: Lab, act: (lab: Lab, folder: string) => Promise<void>): Promise<void> {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'centaur-hosts-')));
  try {
    cpSync(join(lab.command.files, 'broken'), folder, { recursive: true });
    for (const file of readdirSync(folder)) renameSync(join(folder, file), join(folder, file.replace(/\.txt$/, '')));
    await act(lab, folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const entries = (discovery: Message): readonly Entry[] => discovery.workflows as readonly Entry[];

function entry(discovery: Message, name: string): Entry {
  const found = entries(discovery).find(({ workflow_name: each }) => each === name);
  if (found === undefined)
    throw new Error(
      `there is no workflow ${name} among ${entries(discovery)
        .map((each) => each.workflow_name)
        .join(', ')}`,
    );
  return found;
}
