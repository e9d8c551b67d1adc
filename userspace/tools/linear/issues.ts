import { method, type ToolContext, ToolFailure } from '@centaur/sdk';
import * as z from 'zod';
import { compact } from '../_shared/results.ts';
import { type Connection, defined, found, isUuid, mutate, page, PAGE_INFO, paging, query } from './api.ts';

interface Named {
  readonly id: string;
  readonly name: string;
}

interface RawIssue {
  readonly id: string;
  readonly identifier: string;
  readonly title: string;
  readonly description?: string | null;
  readonly priorityLabel: string;
  readonly estimate?: number | null;
  readonly dueDate?: string | null;
  readonly branchName?: string;
  readonly url: string;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly completedAt?: string | null;
  readonly canceledAt?: string | null;
  readonly team: { readonly key: string };
  readonly state: { readonly name: string; readonly type: string };
  readonly assignee?: { readonly displayName: string; readonly email: string } | null;
  readonly creator?: { readonly displayName: string } | null;
  readonly project?: Named | null;
  readonly parent?: { readonly identifier: string } | null;
  readonly labels?: { readonly nodes: readonly Named[] };
  readonly children?: { readonly nodes: readonly { readonly identifier: string; readonly title: string }[] };
}

interface RawComment {
  readonly id: string;
  readonly body: string;
  readonly createdAt: string;
  readonly url?: string;
  readonly user?: { readonly displayName: string } | null;
  readonly parent?: { readonly id: string } | null;
}

const LINE = `id identifier title priorityLabel estimate dueDate url createdAt updatedAt completedAt canceledAt
  team { key } state { name type } assignee { displayName email } project { id name } labels(first: 20) { nodes { id name } }`;
const WHOLE = `${LINE} description branchName creator { displayName } parent { identifier }
  children(first: 50) { nodes { identifier title } }`;
const COMMENT = 'id body createdAt url user { displayName } parent { id }';

const issue = z.string().min(1).describe('`ENG-123`, or the id of the issue');
const team = z.string().min(1).describe('Key of the team, `ENG`; list_teams shows them');
const priority = z.enum(['none', 'urgent', 'high', 'medium', 'low']);
const PRIORITIES = { none: 0, urgent: 1, high: 2, medium: 3, low: 4 } as const;

const fields = {
  description: z.string().optional().describe('Markdown'),
  state: z.string().min(1).optional().describe('Name of a state of the team, `In Progress`; list_teams shows them'),
  assignee: z.string().min(1).optional().describe('Email address or id of a user; `me`'),
  priority: priority.optional(),
  labels: z.array(z.string().min(1)).optional().describe('Names of labels; they replace those that the issue has'),
  project: z.string().min(1).optional().describe('Id of a project; list_projects shows them'),
  parent: issue.optional(),
  estimate: z.int().min(0).optional(),
  due_date: z.iso.date().optional(),
};

type Fields = { readonly [Name in keyof typeof fields]?: z.infer<(typeof fields)[Name]> | undefined };

export const issueMethods = {
  get_issue: method({
    description: 'One issue with its text, its sub-issues and the name of its branch.',
    risk: 'read',
    input: z.strictObject({ issue }),
    async run(input, ctx) {
      const data = await query<{ readonly issue: RawIssue | null }>(ctx, `query ($id: String!) { issue(id: $id) { ${WHOLE} } }`, {
        id: input.issue,
      });
      return toIssue(found(data.issue, `issue ${input.issue}`));
    },
  }),

  list_issues: method({
    description: 'Issues, last changed first, without their texts.',
    risk: 'read',
    input: z.strictObject({
      team: team.optional(),
      state: z.string().min(1).optional().describe('Name of a state'),
      state_types: z
        .array(z.enum(['triage', 'backlog', 'unstarted', 'started', 'completed', 'canceled']))
        .min(1)
        .optional()
        .describe('Kinds of states: unstarted and started are what is to do'),
      assignee: z.string().min(1).optional().describe('Email address; `me`; `none`'),
      label: z.string().min(1).optional().describe('Name of a label'),
      project: z.string().min(1).optional().describe('Id of a project'),
      priority: priority.optional(),
      updated_since: z.iso.datetime({ offset: true }).optional(),
      ...paging,
    }),
    async run({ team, state, state_types, assignee, label, project, priority, updated_since, cursor, limit }, ctx) {
      const filter = defined({
        team: team && { key: { eq: team } },
        state: defined({ name: state && { eqIgnoreCase: state }, type: state_types && { in: state_types } }),
        assignee: assignee && assigneeFilter(assignee),
        labels: label && { some: { name: { eqIgnoreCase: label } } },
        project: project && { id: { eq: project } },
        priority: priority && { eq: PRIORITIES[priority] },
        updatedAt: updated_since && { gte: updated_since },
      });
      const { issues } = await query<{ readonly issues: Connection<RawIssue> }>(
        ctx,
        `query ($filter: IssueFilter, $first: Int, $after: String) {
          issues(filter: $filter, first: $first, after: $after, orderBy: updatedAt) { nodes { ${LINE} } ${PAGE_INFO} } }`,
        { filter, first: limit, after: cursor },
      );
      return page(issues, toLine);
    },
  }),

  search_issues: method({
    description: 'Searches the titles and texts of issues, and with comments also those.',
    risk: 'read',
    input: z.strictObject({ term: z.string().min(1), comments: z.boolean().default(false), ...paging }),
    async run({ term, comments, cursor, limit }, ctx) {
      const { searchIssues } = await query<{ readonly searchIssues: Connection<RawIssue> & { readonly totalCount: number } }>(
        ctx,
        `query ($term: String!, $includeComments: Boolean, $first: Int, $after: String) {
          searchIssues(term: $term, includeComments: $includeComments, first: $first, after: $after) { totalCount nodes { ${LINE} } ${PAGE_INFO} } }`,
        { term, includeComments: comments, first: limit, after: cursor },
      );
      return { total: searchIssues.totalCount, ...page(searchIssues, toLine) };
    },
  }),

  create_issue: method({
    description: 'Makes an issue in a team.',
    risk: 'write',
    input: z.strictObject({ team, title: z.string().min(1).max(512), ...fields }),
    async run({ team, title, ...rest }, ctx) {
      const ids = await idsOf(ctx, team, rest);
      const { issueCreate } = await mutate<{ readonly issueCreate: { readonly issue: RawIssue } }>(
        ctx,
        `mutation ($input: IssueCreateInput!) { issueCreate(input: $input) { issue { ${LINE} } } }`,
        { input: { title, ...ids } },
      );
      return toLine(issueCreate.issue);
    },
  }),

  update_issue: method({
    description: 'Changes an issue: state, people, labels, text and so on. What is left out stays.',
    risk: 'write',
    idempotent: true,
    input: z.strictObject({
      issue,
      title: z.string().min(1).max(512).optional(),
      ...fields,
      assignee: fields.assignee.or(z.null()).describe('null: nobody'),
    }),
    async run({ issue, title, assignee, ...rest }, ctx) {
      const data = await query<{ readonly issue: { readonly team: { readonly key: string } } | null }>(
        ctx,
        'query ($id: String!) { issue(id: $id) { team { key } } }',
        { id: issue },
      );
      const { teamId: _, ...ids } = await idsOf(ctx, found(data.issue, `issue ${issue}`).team.key, {
        ...rest,
        assignee: assignee ?? undefined,
      });
      const { issueUpdate } = await mutate<{ readonly issueUpdate: { readonly issue: RawIssue } }>(
        ctx,
        `mutation ($id: String!, $input: IssueUpdateInput!) { issueUpdate(id: $id, input: $input) { issue { ${LINE} } } }`,
        { id: issue, input: { ...ids, ...(title === undefined ? {} : { title }), ...(assignee === null ? { assigneeId: null } : {}) } },
        true,
      );
      return toLine(issueUpdate.issue);
    },
  }),

  // it stays in the archive and can be taken out of it there
  archive_issue: method({
    description: 'Puts an issue into the archive. People can restore it.',
    risk: 'write',
    idempotent: true,
    input: z.strictObject({ issue }),
    async run(input, ctx) {
      const { issueArchive } = await mutate<{ readonly issueArchive: { readonly success: boolean } }>(
        ctx,
        'mutation ($id: String!) { issueArchive(id: $id) { success } }',
        { id: input.issue },
        true,
      );
      return { issue: input.issue, archived: issueArchive.success };
    },
  }),

  list_comments: method({
    description: 'Comments on an issue.',
    risk: 'read',
    input: z.strictObject({ issue, ...paging }),
    async run({ issue, cursor, limit }, ctx) {
      const data = await query<{ readonly issue: { readonly comments: Connection<RawComment> } | null }>(
        ctx,
        `query ($id: String!, $first: Int, $after: String) {
          issue(id: $id) { comments(first: $first, after: $after) { nodes { ${COMMENT} } ${PAGE_INFO} } } }`,
        { id: issue, first: limit, after: cursor },
      );
      return page(found(data.issue, `issue ${issue}`).comments, toComment);
    },
  }),

  create_comment: method({
    description: 'Comments on an issue, or with parent answers a comment.',
    risk: 'write',
    input: z.strictObject({
      issue,
      body: z.string().min(1).describe('Markdown'),
      parent: z.string().min(1).optional().describe('Id of the comment to answer'),
    }),
    async run({ issue, body, parent }, ctx) {
      const { commentCreate } = await mutate<{ readonly commentCreate: { readonly comment: RawComment } }>(
        ctx,
        `mutation ($input: CommentCreateInput!) { commentCreate(input: $input) { comment { ${COMMENT} } } }`,
        { input: { issueId: issue, body, parentId: parent } },
      );
      return toComment(commentCreate.comment);
    },
  }),

  update_comment: method({
    description: 'Replaces the text of a comment that this key has written.',
    risk: 'write',
    idempotent: true,
    input: z.strictObject({ comment: z.string().min(1).describe('Its id'), body: z.string().min(1) }),
    async run({ comment, body }, ctx) {
      const { commentUpdate } = await mutate<{ readonly commentUpdate: { readonly comment: RawComment } }>(
        ctx,
        `mutation ($id: String!, $input: CommentUpdateInput!) { commentUpdate(id: $id, input: $input) { comment { ${COMMENT} } } }`,
        { id: comment, input: { body } },
        true,
      );
      return toComment(commentUpdate.comment);
    },
  }),
};

function assigneeFilter(assignee: string): object {
  if (assignee === 'none') return { null: true };
  return assignee === 'me' ? { isMe: { eq: true } } : { email: { eqIgnoreCase: assignee } };
}

interface Known {
  readonly viewer?: { readonly id: string };
  readonly teams: { readonly nodes: readonly { readonly id: string; readonly states: { readonly nodes: readonly Named[] } }[] };
  readonly users?: { readonly nodes: readonly { readonly id: string }[] };
  readonly issueLabels?: { readonly nodes: readonly Named[] };
}

/** Agents know names; Linear wants ids. One request for all of them. */
async function idsOf(
  ctx: ToolContext,
  key: string,
  given: Fields,
): Promise<Readonly<Record<string, unknown>> & { readonly teamId: string }> {
  const { assignee, labels } = given;
  const me = assignee === 'me';
  const email = assignee !== undefined && !me && !isUuid(assignee) ? assignee : undefined;
  const known = await query<Known>(
    ctx,
    `query ($key: String!${email === undefined ? '' : ', $email: String!'}${labels?.length ? ', $labels: IssueLabelFilter' : ''}) {
      ${me ? 'viewer { id }' : ''}
      teams(filter: { key: { eq: $key } }) { nodes { id states { nodes { id name } } } }
      ${email === undefined ? '' : 'users(filter: { email: { eqIgnoreCase: $email } }) { nodes { id } }'}
      ${labels?.length ? 'issueLabels(filter: $labels, first: 100) { nodes { id name } }' : ''}
    }`,
    {
      key,
      ...(email === undefined ? {} : { email }),
      ...(labels?.length ? { labels: { and: [{ or: labels.map((name) => ({ name: { eqIgnoreCase: name } })) }, ofTeam(key)] } } : {}),
    },
  );
  const team = found(known.teams.nodes[0], `team ${key}`);
  return {
    teamId: team.id,
    description: given.description,
    stateId: given.state && idOf(team.states.nodes, given.state, `state of ${key}`),
    assigneeId: me ? known.viewer?.id : email === undefined ? assignee : found(known.users?.nodes[0], `user ${email}`).id,
    labelIds: labels?.map((name) => idOf(known.issueLabels?.nodes ?? [], name, `label for ${key}`)),
    priority: given.priority && PRIORITIES[given.priority],
    projectId: given.project,
    parentId: given.parent,
    estimate: given.estimate,
    dueDate: given.due_date,
  };
}

/** Labels of the team, and those of the whole workspace. */
function ofTeam(key: string): object {
  return { or: [{ team: { key: { eq: key } } }, { team: { null: true } }] };
}

function idOf(known: readonly Named[], name: string, what: string): string {
  const match = known.find((each) => each.name.toLowerCase() === name.toLowerCase());
  if (match !== undefined) return match.id;
  const names = known.map((each) => each.name).join(', ');
  throw new ToolFailure('NOT_FOUND', `Linear: there is no ${what} named ${name}${names === '' ? '' : `, only ${names}`}.`);
}

function toLine(raw: RawIssue): Record<string, unknown> {
  return compact({
    issue: raw.identifier,
    id: raw.id,
    title: raw.title,
    team: raw.team.key,
    state: raw.state.name,
    state_type: raw.state.type,
    priority: raw.priorityLabel,
    assignee: raw.assignee?.email ?? raw.assignee?.displayName,
    labels: raw.labels?.nodes.length ? raw.labels.nodes.map(({ name }) => name) : undefined,
    project: raw.project,
    estimate: raw.estimate,
    due_date: raw.dueDate,
    created_at: raw.createdAt,
    updated_at: raw.updatedAt,
    completed_at: raw.completedAt,
    canceled_at: raw.canceledAt,
    url: raw.url,
  });
}

function toIssue(raw: RawIssue): Record<string, unknown> {
  return compact({
    ...toLine(raw),
    creator: raw.creator?.displayName,
    parent: raw.parent?.identifier,
    sub_issues: raw.children?.nodes.length ? raw.children.nodes.map(({ identifier, title }) => ({ issue: identifier, title })) : undefined,
    branch: raw.branchName,
    description: raw.description,
  });
}

function toComment(raw: RawComment): Record<string, unknown> {
  return compact({
    id: raw.id,
    author: raw.user?.displayName,
    body: raw.body,
    parent: raw.parent?.id,
    created_at: raw.createdAt,
    url: raw.url,
  });
}
