/** Policy: checking a file, publishing it, and asking why something was decided. */
import type { Command } from 'commander';
import type { Decision, PolicyRequest, Problem, RuleTrace, TestOutcome } from '@centaur/kernel/policy';
import { type BacktestAnswer, connect, type ExplainedDecision, type PublishedVersion } from '../api.ts';
import { examples, readJson, readTextFile, wholeNumber, withJson } from '../arguments.ts';
import { EXIT, UsageError } from '../exit.ts';
import { diffLines, type DiffLine } from '../line-diff.ts';
import { addDrafts, addShadowReport, addTemplates, problemText } from './policy-texts.ts';
import { note, paint, print, printable, printJson, relative, status, table } from '../output.ts';

interface Json {
  readonly json?: true;
}

export function addPolicy(program: Command): void {
  const policy = program.command('policy').description('Say what is allowed, what a person must approve, and what is denied.');
  examples(policy, 'centaur policy check policy.yaml', 'centaur policy publish policy.yaml --message "refunds need a person"');

  const check = policy
    .command('check')
    .description('Compile a file without a server, run its tests, and say what is wrong with it. The exit code is 1 for an error.')
    .argument('<file>', 'the policy, or - for stdin')
    .action(checkFile);
  examples(withJson(check), 'centaur policy check policy.yaml');

  const test = policy
    .command('test')
    .description('Run the tests in a file without a server. The exit code is 1 when one fails.')
    .argument('<file>', 'the policy, or - for stdin')
    .action(testFile);
  examples(withJson(test), 'centaur policy test policy.yaml');

  const diff = policy
    .command('diff')
    .description('Hold a file against the policy that is in force, line by line.')
    .argument('<file>', 'the policy, or - for stdin')
    .option('--exit-code', 'exit with 1 when they differ')
    .action(diffFile);
  examples(withJson(diff), 'centaur policy diff policy.yaml');

  const backtest = policy
    .command('backtest')
    .description('Say which requests of the audit log a file would have decided otherwise than the policy that is in force.')
    .argument('<file>', 'the policy, or - for stdin')
    .option('--days <number>', 'only requests of the last days (default: the newest 10,000 requests)', wholeNumber(1, 3650))
    .action(backtestFile);
  examples(withJson(backtest), 'centaur policy backtest policy.yaml --days 7');

  const publish = policy
    .command('publish')
    .summary('Put a file or a draft into force.')
    .description(
      'Put a file or a draft into force. One with an error in it is refused, and the version before stays. Where that version asks a person before it is replaced, publish again once somebody else has approved.',
    )
    .argument('[file]', 'the policy, or - for stdin')
    .option('--draft <name>', 'the text of a draft')
    .option('--message <text>', 'why, for the list of versions')
    .action(async (file: string | undefined, options: Json & { readonly message?: string; readonly draft?: string }) => {
      const { draft, message } = options;
      if ((file === undefined) === (draft === undefined)) throw new UsageError('give either a file or --draft');
      if (file !== undefined) return publishFile(file, options, 'publish');
      showPublished(await connect().publishPolicy({ draft: draft as string }, message), `draft ${draft}`, options, 'publish');
    });
  examples(
    withJson(publish),
    'centaur policy publish policy.yaml --message "refunds need a person"',
    'centaur policy publish --draft refunds',
  );

  const shadow = policy
    .command('shadow')
    .summary('Have a file evaluated and recorded without effect.')
    .description('Have a file evaluated beside the policy in force: what it would decide is recorded and has no effect. --end ends that.')
    .argument('[file]', 'the policy, or - for stdin')
    .option('--message <text>', 'why, for the list of versions')
    .option('--end', 'end the shadow')
    .action(async (file: string | undefined, options: Json & { readonly message?: string; readonly end?: true }) => {
      if ((file === undefined) !== (options.end === true)) throw new UsageError('give either a file or --end');
      if (file !== undefined) return publishFile(file, options, 'shadow');
      const answer = await connect().endShadow();
      if (options.json) printJson(answer);
      else print(answer.ended ? 'the shadow has ended' : 'there was no shadow');
    });
  examples(
    withJson(shadow),
    'centaur policy shadow stricter.yaml',
    'centaur policy shadow report --since 7d',
    'centaur policy shadow --end',
  );
  addShadowReport(shadow);
  addDrafts(policy);
  addTemplates(policy);

  const rollback = policy
    .command('rollback')
    .description('Publish the text of an earlier version again, as a new one.')
    .argument('<version>', 'number of the version', wholeNumber(1, 2_147_483_647))
    .action(async (version: number, options: Json) => {
      const made = await connect().rollbackPolicy(version);
      if (options.json) printJson(made);
      else print(`version ${made.version} is in force, with the text of ${version}`);
    });
  examples(withJson(rollback), 'centaur policy rollback 3');

  const versions = policy
    .command('versions')
    .description('List what was ever published, newest first.')
    .option('--limit <number>', 'how many, 1 to 500', wholeNumber(1, 500), 20)
    .action(listVersions);
  examples(withJson(versions), 'centaur policy versions');

  const show = policy
    .command('show')
    .description('Print the text of the policy that is in force, or of a version; 0 is the built-in one.')
    .argument('[version]', 'number of the version', wholeNumber(0, 2_147_483_647))
    .action(showPolicy);
  examples(withJson(show), 'centaur policy show > policy.yaml', 'centaur policy show 3');

  const explain = policy
    .command('explain')
    .description('Say what the policy in force decides on a request, and how each rule came to its part in it.')
    .argument('<request>', 'JSON, @file or - for stdin; or the id of an audit entry that has a request in it')
    .action(explainRequest);
  examples(
    withJson(explain),
    `centaur policy explain '{"host": "api.stripe.com", "method": "POST", "path": "/v1/refunds", "credentialed": true}'`,
    `centaur policy explain '{"tool": {"name": "stripe.refund", "risk": "financial"}, "args": {"amount": 5000}}'`,
    'centaur policy explain 0198c0de-0000-7000-8000-000000000000',
  );
}

/** Only here: the other commands start faster without the compiler. */
async function compile(file: string) {
  const text = await readTextFile(file);
  const { compilePolicy } = await import('@centaur/kernel/policy');
  return { text, ...compilePolicy(text) };
}

async function checkFile(file: string, options: Json): Promise<void> {
  const { policy, problems, tests } = await compile(file);
  process.exitCode = policy === undefined ? EXIT.failed : EXIT.ok;
  if (options.json) return printJson({ ok: policy !== undefined, problems });
  for (const problem of problems) print(problemText(file, problem, process.stdout));
  if (policy !== undefined)
    print(`${paint('green', 'ok')}    ${count(policy.rules.length, 'rule')}, ${count(tests.length, 'test')} passed`);
}

async function testFile(file: string, options: Json): Promise<void> {
  const { problems, tests } = await compile(file);
  const failed = tests.filter(({ failure }) => failure !== undefined);
  // Those of the tests are told test by test
  const others = problems.filter(({ level, message }) => level === 'error' && !failed.some(({ failure }) => failure === message));
  process.exitCode = failed.length + others.length === 0 ? EXIT.ok : EXIT.failed;
  if (options.json) return printJson({ ok: process.exitCode === EXIT.ok, tests: tests.map(outcome), problems: others });
  for (const problem of others) print(problemText(file, problem, process.stdout));
  for (const test of tests) print(testText(file, test));
  if (others.length === 0)
    print(tests.length === 0 ? 'no tests' : `${tests.length - failed.length} of ${count(tests.length, 'test')} passed`);
}

function outcome({ name, line, failure }: TestOutcome): object {
  return { name, line: line ?? null, passed: failure === undefined, ...(failure === undefined ? {} : { failure }) };
}

function testText(file: string, { name, line, failure }: TestOutcome): string {
  return failure === undefined
    ? `${paint('green', 'ok')}    ${printable(name)}`
    : problemText(file, { level: 'error', message: failure, ...(line === undefined ? {} : { line }) }, process.stdout);
}

async function diffFile(file: string, options: Json & { readonly exitCode?: true }): Promise<void> {
  const text = await readTextFile(file);
  const { version, text: current } = await connect().getPolicy();
  const lines = diffLines(current, text);
  if (options.exitCode && lines.length > 0) process.exitCode = EXIT.failed;
  if (options.json) return printJson({ version, same: lines.length === 0, lines });
  if (lines.length === 0) return note(`${file} is ${versionName(version)}, line by line`);
  print(diffText(lines, `${versionName(version)}, in force`, file));
}

const DIFF_COLOURS = { '-': 'red', '+': 'green', ' ': 'dim' } as const;

function diffText(lines: readonly DiffLine[], before: string, after: string): string {
  const out = [paint('bold', `--- ${before}`), paint('bold', `+++ ${after}`)];
  let expected: number | undefined;
  for (const { mark, line, text } of lines) {
    if (mark !== '-' && line !== expected) out.push(paint('cyan', `@@ line ${line}`));
    if (mark !== '-') expected = line + 1;
    out.push(paint(DIFF_COLOURS[mark], `${mark} ${printable(text)}`));
  }
  return out.join('\n');
}

async function backtestFile(file: string, options: Json & { readonly days?: number }): Promise<void> {
  const { text, policy, problems } = await compile(file);
  if (policy === undefined) return refuse(file, problems, options);
  const report = await connect().backtestPolicy(text, options.days);
  if (options.json) return printJson(report);
  print(backtestText(report));
}

function backtestText({ version, requests, counts, changed }: BacktestAnswer): string {
  const against = `${count(requests, 'request')} held against ${versionName(version)}`;
  if (changed.length === 0) return `${against}: the same decision on each`;
  const total = Object.values(counts).reduce((sum, each) => sum + each, 0);
  const rows = changed.map(({ audit_id, request, before, after }) => [
    audit_id,
    requestText(request),
    request.principal,
    decisionText(before),
    decisionText(after),
  ]);
  return [
    `${against}: ${total} decided otherwise`,
    ...Object.entries(counts).map(([change, times]) => `  ${times} from ${change}`),
    '',
    table(['ENTRY', 'REQUEST', 'PRINCIPAL', 'WAS', 'WOULD BE'], rows),
    ...(total > changed.length ? [`and ${total - changed.length} earlier ones`] : []),
  ].join('\n');
}

async function publishFile(file: string, options: Json & { readonly message?: string }, what: 'publish' | 'shadow'): Promise<void> {
  const { text, policy, problems } = await compile(file);
  if (policy === undefined) return refuse(file, problems, options);
  const api = connect();
  const made = what === 'publish' ? await api.publishPolicy({ text }, options.message) : await api.shadowPolicy(text, options.message);
  showPublished(made, file, options, what);
}

function showPublished(made: PublishedVersion, file: string, options: Json, what: 'publish' | 'shadow'): void {
  if (options.json) return printJson(made);
  for (const problem of made.problems) note(problemText(file, problem, process.stderr));
  print(what === 'publish' ? `version ${made.version} is in force` : `version ${made.version} is in shadow: recorded, without effect`);
}

function refuse(file: string, problems: readonly Problem[], options: Json): void {
  process.exitCode = EXIT.failed;
  if (options.json)
    return void process.stderr.write(
      `${JSON.stringify({ code: 'INVALID_POLICY', message: 'the policy has errors', details: { problems } })}\n`,
    );
  for (const problem of problems) note(problemText(file, problem, process.stderr));
}

async function listVersions(options: Json & { readonly limit: number }): Promise<void> {
  const page = await connect().listPolicyVersions(options.limit);
  if (options.json) return printJson(page);
  if (page.items.length === 0) return note('nothing was published: the built-in policy is in force');
  const rows = page.items.map((each) => [
    String(each.version),
    status(each.state),
    relative(each.created_at),
    each.author,
    each.digest.slice(0, 12),
    printable(each.message ?? ''),
  ]);
  print(table(['VERSION', 'STATE', 'PUBLISHED', 'AUTHOR', 'DIGEST', ''], rows));
}

async function showPolicy(version: number | undefined, options: Json): Promise<void> {
  const api = connect();
  const found = version === undefined ? await api.getPolicy() : await api.getPolicyVersion(version);
  if (options.json) return printJson(found);
  if (process.stderr.isTTY) note(paint('dim', `${versionName(found.version)}, ${found.state}, by ${found.author}`, process.stderr));
  process.stdout.write(found.text.endsWith('\n') ? found.text : `${found.text}\n`);
}

async function explainRequest(argument: string, options: Json): Promise<void> {
  const isEntry = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i.test(argument);
  const explained = await connect().explainDecision(isEntry ? { audit_id: argument } : { request: await readJson(argument, 'request') });
  if (options.json) return printJson(explained);
  print(explanationText(explained));
}

function explanationText({ version, request, decision, rules }: ExplainedDecision): string {
  return [
    `${effectText(decision.effect)} ${printable(requestText(request))}`,
    `  by ${decision.rule === null ? 'the default' : `rule ${decision.rule}`} of ${versionName(version)}${decision.gate === undefined ? '' : `, at gate ${decision.gate}`}`,
    ...(decision.message === undefined ? [] : [`  ${printable(decision.message)}`]),
    ...decision.errors.map(({ rule, message }) => `  ${paint('red', `rule ${rule} failed: ${printable(message)}`)}`),
    '',
    ...rules.flatMap(traceText),
  ].join('\n');
}

function traceText({ rule, effect, mode, matched, clauses }: RuleTrace): string[] {
  const mark = matched ? paint('green', '✔') : paint('dim', '✖');
  return [
    `${mark} ${rule} ${paint('dim', `${effect}${mode === 'shadow' ? ', in shadow' : ''}`)}`,
    ...clauses.map(({ clause, result }) => {
      const said =
        typeof result === 'object'
          ? paint('red', `failed: ${printable(result.error)}`)
          : result
            ? paint('green', 'yes')
            : paint('red', 'no');
      return `    ${printable(clause)}  ${said}`;
    }),
  ];
}

function effectText(effect: Decision['effect']): string {
  return paint({ allow: 'green', approve: 'yellow', deny: 'red' }[effect] as 'green', effect);
}

function decisionText({ effect, rule }: Omit<Decision, 'limits'>): string {
  return `${effect} by ${rule ?? 'the default'}`;
}

function requestText(request: PolicyRequest): string {
  if (request.kind === 'tool') return `${request.tool.name} ${JSON.stringify(request.args)}`;
  const port = request.port === (request.scheme === 'https' ? 443 : 80) ? '' : `:${request.port}`;
  return `${request.method} ${request.scheme}://${request.host}${port}${request.path}`;
}

function versionName(version: number): string {
  return version === 0 ? 'the built-in policy' : `version ${version}`;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
