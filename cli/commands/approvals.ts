/** Requests that wait for people. Whoever decides is a person: `centaur login`. */
import { type Command, Option } from 'commander';
import type { ApprovalState } from '@centaur/kernel/policy';
import { type Api, type ApprovalForYou, connect, type VoteRequest } from '../api.ts';
import { readPerson } from '../access.ts';
import { approvalLines, approvalText, askText } from '../approval-view.ts';
import { collect, examples, seconds, wholeNumber, withJson } from '../arguments.ts';
import { EXIT, HintedError, UsageError } from '../exit.ts';
import { note, paint, print, printable, printJson, relative, status } from '../output.ts';

const STATES: readonly ApprovalState[] = ['pending', 'approved', 'denied', 'expired', 'cancelled', 'consumed'];
const EXAMPLE = '0198c0de-0000-7000-8000-000000000000';
const MANY = 20;

export function addApprovals(program: Command): void {
  const approvals = program.command('approvals').description('Look at requests that wait for people, and decide them.');
  examples(approvals, 'centaur approvals ls', `centaur approvals approve ${EXAMPLE} --reason "the refund of ticket 4711"`);

  const ls = approvals
    .command('ls')
    .description('List requests that wait for people, newest first.')
    .addOption(new Option('--state <state>', 'those in this state instead').choices(STATES).default('pending'))
    .option('--all', 'those in any state')
    .option('--limit <number>', 'how many, 1 to 200', wholeNumber(1, 200), 20)
    .option('--after <cursor>', 'go on after this page’s "next"')
    .action(list);
  examples(withJson(ls), 'centaur approvals ls', 'centaur approvals ls --all');

  const show = approvals
    .command('show')
    .description('Show what is asked for, with its arguments, who may decide, how long there is, and who has voted.')
    .argument('<approval>', 'id of the approval')
    .action(async (approvalId: string, options: { readonly json?: true }) => {
      const approval = await connect().getApproval(approvalId);
      if (options.json) printJson(approval);
      else print(approvalText(approval));
    });
  examples(withJson(show), `centaur approvals show ${EXAMPLE}`);

  const approve = approvals
    .command('approve')
    .description('Vote for requests, up to 20 at a time. With as many votes as its gate asks for, one goes through, once.')
    .argument('<approval...>', 'ids of approvals')
    .option('--reason <text>', 'for the audit log; needed for what is destructive or financial')
    .option('--digest <hex>', 'what was looked at, or its first 8 digits; needed when somebody has edited it')
    .option('--for <scope>', 'let calls like it through, too: for this "thread", this "run", or a time up to 24h', scopeOf)
    .option('--edit <path=value>', 'with this value, as JSON or else as a text, in place of what was asked; again for more', collect)
    .option('--field <path>', 'with --for: an argument that has to be the same; again for more. Default: all', collect)
    .action((ids: string[], { edit: edits, ...options }: VoteOptions & { readonly edit?: readonly string[] }) =>
      vote(ids, 'approve', options, edits && patchOf(edits)),
    );
  examples(
    withJson(approve),
    `centaur approvals approve ${EXAMPLE}`,
    `centaur approvals approve ${EXAMPLE} --reason "ticket 4711" --for 4h --field repo`,
    `centaur approvals approve ${EXAMPLE} --edit amount=20 --reason "what was agreed"`,
  );

  const deny = approvals
    .command('deny')
    .description('Refuse requests, up to 20 at a time. One who denies is enough.')
    .argument('<approval...>', 'ids of approvals')
    .requiredOption('--reason <text>', 'why: the agent is told')
    .action((ids: string[], options: VoteOptions) => vote(ids, 'deny', options));
  examples(withJson(deny), `centaur approvals deny ${EXAMPLE} --reason "over this month's limit"`);

  const edit = approvals
    .command('edit')
    .description('Vote for a call with other arguments: those that its gate lets be edited. What was voted before counts no more.')
    .argument('<approval>', 'id of the approval')
    .requiredOption('--set <path=value>', 'a value, as JSON or else as a text; again for more', collect)
    .option('--reason <text>', 'for the audit log; needed for what is destructive or financial')
    .option('--digest <hex>', 'what was looked at, or its first 8 digits; needed when somebody has edited it')
    .action((approvalId: string, { set, ...options }: VoteOptions & { readonly set: readonly string[] }) =>
      vote([approvalId], 'approve', options, patchOf(set)),
    );
  examples(withJson(edit), `centaur approvals edit ${EXAMPLE} --set amount=20 --reason "what was agreed"`);

  const override = approvals
    .command('override')
    .description('Approve it past its gate: for an administrator who has signed in in the last 5 minutes. It leaves a mark.')
    .argument('<approval>', 'id of the approval')
    .requiredOption('--reason <text>', 'why the gate is passed by')
    .option('--digest <hex>', 'what was looked at, or its first 8 digits; needed when somebody has edited it')
    .action(async (approvalId: string, options: { readonly reason: string; readonly digest?: string; readonly json?: true }) => {
      const api = connectAsPerson();
      const { digest } = lookedAt(await api.getApproval(approvalId), options.digest);
      const decided = await api.overrideApproval(approvalId, { reason: options.reason, digest });
      if (options.json) printJson(decided);
      else print(`${decided.state} ${decided.approval_id}, past the gate ${decided.gate}: ${askText(decided)}`);
    });
  examples(withJson(override), `centaur approvals override ${EXAMPLE} --reason "the site is down, nobody else is awake"`);

  addApprovalGrants(approvals);
}

function addApprovalGrants(approvals: Command): void {
  const grants = approvals.command('grants').description('What was approved for a while, with "approve --for".');
  examples(grants, 'centaur approvals grants ls');

  const ls = grants
    .command('ls')
    .description('List what is let through without asking again, newest first.')
    .option('--all', 'with what is over or was revoked')
    .action(async (options: { readonly all?: true; readonly json?: true }) => {
      const page = await connect().listApprovalGrants({ all: options.all ? 'all' : undefined });
      if (options.json) return printJson(page);
      if (page.items.length === 0) return note('nothing is let through without asking');
      for (const each of page.items) {
        const scope =
          each.thread_key !== null ? `thread ${each.thread_key}` : each.run_id !== null ? `run ${each.run_id}` : 'any of its calls';
        const same = each.fields === null ? 'the same arguments' : `the same ${each.fields.join(', ')}`;
        print(`${paint('bold', each.grant_id)}  ${status(each.state)}  over ${relative(each.expires_at)}  used ${each.used} times`);
        print(`  ${printable(`${each.tool} by ${each.principal}: ${same}, ${scope}`)}`);
        print(paint('dim', `  ${printable(`${each.granted_by}${each.reason === null ? '' : `: ${each.reason}`}`)}`));
      }
    });
  examples(withJson(ls), 'centaur approvals grants ls');

  const revoke = grants
    .command('revoke')
    .description('Ask again from now on.')
    .argument('<grant>', 'id of what was approved for a while')
    .action(async (grantId: string, options: { readonly json?: true }) => {
      const revoked = await connect().revokeApprovalGrant(grantId);
      if (options.json) printJson(revoked);
      else print(`revoked ${revoked.grant_id}: ${printable(revoked.tool)} is asked about again`);
    });
  examples(withJson(revoke), `centaur approvals grants revoke ${EXAMPLE}`);
}

interface VoteOptions {
  readonly reason?: string;
  readonly digest?: string;
  readonly for?: VoteRequest['for'];
  readonly field?: readonly string[];
  readonly json?: true;
}

async function vote(
  ids: readonly string[],
  verdict: 'approve' | 'deny',
  options: VoteOptions,
  patch?: Readonly<Record<string, unknown>>,
): Promise<void> {
  if (ids.length > MANY) throw new UsageError(`${ids.length} approvals: ${MANY} at a time are the most`);
  if (patch !== undefined && ids.length > 1) throw new UsageError('--edit: of one approval, not of several');
  if (options.digest !== undefined && ids.length > 1) throw new UsageError('--digest: of one approval, not of several');
  if (options.field !== undefined && options.for === undefined) throw new UsageError('--field: say for how long, too (--for)');
  const api = connectAsPerson();
  const votes: VoteRequest[] = [];
  for (const id of ids) {
    const approval = await api.getApproval(id);
    // the digest says what is voted on; that others have voted meanwhile changes nothing
    const { digest } = verdict === 'deny' ? approval : lookedAt(approval, options.digest);
    const { reason, for: scope, field } = options;
    votes.push({ approval_id: approval.approval_id, verdict, digest, reason, args_patch: patch, for: scope, fields: field });
  }
  const { items } = await api.voteOnMany(votes);
  if (options.json) printJson(items.length === 1 && items[0]?.ok ? items[0].approval : { items });
  for (const each of items) {
    if (!each.ok) {
      note(`${each.approval_id}: ${each.message} (${each.code})`);
      process.exitCode = EXIT.failed;
    } else if (!options.json) {
      const { approval } = each;
      const left = approval.state === 'pending' ? ` (${approval.approvals} of ${approval.quorum} votes)` : '';
      print(`${approval.state}${left} ${approval.approval_id}: ${askText(approval)}`);
    }
  }
}

/** @throws HintedError when nobody is signed in: no key decides, whatever its scopes */
function connectAsPerson(): Api {
  return connect(process.env, readPerson(process.env, 'approvals are decided by people'));
}

/** What a person who has not looked again would vote on unseen. @throws HintedError */
function lookedAt(approval: ApprovalForYou, digest: string | undefined): ApprovalForYou {
  const { approval_id, edited_by } = approval;
  if (digest === undefined ? edited_by === null : digest.length >= 8 && approval.digest.startsWith(digest.toLowerCase())) return approval;
  throw new HintedError(
    digest === undefined ? `${edited_by} has edited approval ${approval_id}` : `approval ${approval_id} is for ${approval.digest}`,
    `Look at it with "centaur approvals show ${approval_id}", and name its digest: --digest ${approval.digest.slice(0, 8)}`,
  );
}

async function list(options: {
  readonly state: ApprovalState;
  readonly all?: true;
  readonly limit: number;
  readonly after?: string;
  readonly json?: true;
}): Promise<void> {
  const page = await connect().listApprovals({
    state: options.all ? undefined : options.state,
    limit: options.limit,
    after: options.after,
  });
  if (options.json) return printJson(page);
  if (page.items.length === 0) return note(options.all ? 'no approvals' : `no approvals are ${options.state}`);
  for (const each of page.items) print(approvalLines(each));
  if (page.next !== null) note(paint('dim', `more: --after ${page.next}`, process.stderr));
}

function scopeOf(text: string): NonNullable<VoteRequest['for']> {
  return text === 'thread' || text === 'run' ? text : seconds(text);
}

const patchOf = (edits: readonly string[]): Readonly<Record<string, unknown>> => Object.fromEntries(edits.map(assignment));

/** `amount=20`, `note="as agreed"`. */
function assignment(text: string): readonly [string, unknown] {
  const at = text.indexOf('=');
  if (at < 1) throw new UsageError(`expected PATH=VALUE, such as amount=20, not ${JSON.stringify(text)}`);
  const value = text.slice(at + 1);
  try {
    return [text.slice(0, at), JSON.parse(value) as unknown];
  } catch {
    return [text.slice(0, at), value];
  }
}
