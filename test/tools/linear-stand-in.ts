/**
 * Linear with the part of its published GraphQL schema that the tool uses: every query is held against it, so that a field or an
 * argument that Linear has not is refused here as there. The emulator's schema differs from it in filters and lacks fields.
 */
import { buildSchema, graphql } from 'graphql';
import type { Handler, Said } from './front.ts';

export const KEY = 'lin_api_0123456789';
export const TEAM = '11111111-1111-4111-8111-111111111111';

const schema = buildSchema(`
  scalar DateTime
  scalar DateTimeOrDuration
  scalar TimelessDate
  enum PaginationOrderBy { createdAt updatedAt }
  enum ProjectUpdateHealthType { atRisk offTrack onTrack }
  enum ProjectStatusType { backlog canceled completed paused planned started }
  type PageInfo { hasNextPage: Boolean! hasPreviousPage: Boolean! startCursor: String endCursor: String }
  type User { id: ID! name: String! displayName: String! email: String! active: Boolean! admin: Boolean! guest: Boolean! }
  type UserConnection { nodes: [User!]! pageInfo: PageInfo! }
  type WorkflowState { id: ID! name: String! type: String! position: Float! }
  type WorkflowStateConnection { nodes: [WorkflowState!]! pageInfo: PageInfo! }
  type Team { id: ID! key: String! name: String! description: String states(first: Int, after: String): WorkflowStateConnection! }
  type TeamConnection { nodes: [Team!]! pageInfo: PageInfo! }
  type IssueLabel { id: ID! name: String! team: Team }
  type IssueLabelConnection { nodes: [IssueLabel!]! pageInfo: PageInfo! }
  type ProjectStatus { id: ID! name: String! type: ProjectStatusType! }
  type Project {
    id: ID! name: String! description: String! content: String url: String! status: ProjectStatus! health: ProjectUpdateHealthType
    progress: Float! startDate: TimelessDate targetDate: TimelessDate lead: User teams(first: Int, after: String): TeamConnection!
    updatedAt: DateTime!
  }
  type ProjectConnection { nodes: [Project!]! pageInfo: PageInfo! }
  type ProjectUpdate { id: ID! body: String! health: ProjectUpdateHealthType! url: String! }
  type Comment { id: ID! body: String! createdAt: DateTime! url: String! user: User parent: Comment }
  type CommentConnection { nodes: [Comment!]! pageInfo: PageInfo! }
  type Issue {
    id: ID! identifier: String! title: String! description: String priority: Float! priorityLabel: String! estimate: Float
    dueDate: TimelessDate branchName: String! url: String! createdAt: DateTime! updatedAt: DateTime! completedAt: DateTime
    canceledAt: DateTime team: Team! state: WorkflowState! assignee: User creator: User project: Project parent: Issue
    labels(first: Int, after: String): IssueLabelConnection! children(first: Int, after: String): IssueConnection!
    comments(first: Int, after: String): CommentConnection!
  }
  type IssueConnection { nodes: [Issue!]! pageInfo: PageInfo! }
  type IssueSearchResult {
    id: ID! identifier: String! title: String! priorityLabel: String! estimate: Float dueDate: TimelessDate url: String!
    createdAt: DateTime! updatedAt: DateTime! completedAt: DateTime canceledAt: DateTime team: Team! state: WorkflowState!
    assignee: User project: Project labels(first: Int, after: String): IssueLabelConnection!
  }
  type IssueSearchPayload { totalCount: Float! nodes: [IssueSearchResult!]! pageInfo: PageInfo! }
  input StringComparator { eq: String eqIgnoreCase: String in: [String!] containsIgnoreCase: String }
  input BooleanComparator { eq: Boolean }
  input IdComparator { eq: ID }
  input EntityIdentifierIdComparator { eq: ID }
  input NullableNumberComparator { eq: Float }
  input DateComparator { gte: DateTimeOrDuration }
  input TeamFilter { key: StringComparator }
  input NullableTeamFilter { key: StringComparator null: Boolean }
  input TeamCollectionFilter { some: TeamFilter }
  input WorkflowStateFilter { name: StringComparator type: StringComparator }
  input UserFilter { email: StringComparator }
  input NullableUserFilter { email: StringComparator isMe: BooleanComparator null: Boolean }
  input IssueLabelFilter { name: StringComparator team: NullableTeamFilter and: [IssueLabelFilter!] or: [IssueLabelFilter!] }
  input IssueLabelCollectionFilter { some: IssueLabelFilter }
  input NullableProjectFilter { id: EntityIdentifierIdComparator }
  input ProjectStatusFilter { type: StringComparator }
  input ProjectFilter { name: StringComparator status: ProjectStatusFilter accessibleTeams: TeamCollectionFilter }
  input IssueFilter {
    team: TeamFilter state: WorkflowStateFilter assignee: NullableUserFilter labels: IssueLabelCollectionFilter
    project: NullableProjectFilter priority: NullableNumberComparator updatedAt: DateComparator
  }
  input IssueCreateInput {
    teamId: String! title: String description: String stateId: String assigneeId: String labelIds: [String!] priority: Int
    projectId: String parentId: String estimate: Int dueDate: TimelessDate
  }
  input IssueUpdateInput {
    title: String description: String stateId: String assigneeId: String labelIds: [String!] priority: Int projectId: String
    parentId: String estimate: Int dueDate: TimelessDate
  }
  input CommentCreateInput { issueId: String body: String parentId: String }
  input CommentUpdateInput { body: String }
  input ProjectUpdateCreateInput { projectId: String! body: String health: ProjectUpdateHealthType }
  type IssuePayload { success: Boolean! issue: Issue }
  type IssueArchivePayload { success: Boolean! }
  type CommentPayload { success: Boolean! comment: Comment! }
  type ProjectUpdatePayload { success: Boolean! projectUpdate: ProjectUpdate! }
  type Query {
    viewer: User!
    issue(id: String!): Issue!
    issues(filter: IssueFilter, first: Int, after: String, orderBy: PaginationOrderBy): IssueConnection!
    searchIssues(term: String!, includeComments: Boolean, first: Int, after: String): IssueSearchPayload!
    issueLabels(filter: IssueLabelFilter, first: Int, after: String): IssueLabelConnection!
    teams(filter: TeamFilter, first: Int, after: String): TeamConnection!
    users(filter: UserFilter, first: Int, after: String): UserConnection!
    projects(filter: ProjectFilter, first: Int, after: String, orderBy: PaginationOrderBy): ProjectConnection!
    project(id: String!): Project!
  }
  type Mutation {
    issueCreate(input: IssueCreateInput!): IssuePayload!
    issueUpdate(id: String!, input: IssueUpdateInput!): IssuePayload!
    issueArchive(id: String!, trash: Boolean): IssueArchivePayload!
    commentCreate(input: CommentCreateInput!): CommentPayload!
    commentUpdate(id: String!, input: CommentUpdateInput!): CommentPayload!
    projectUpdateCreate(input: ProjectUpdateCreateInput!): ProjectUpdatePayload!
  }
`);

type Fields = Readonly<Record<string, unknown>>;

const NO_MORE = { hasNextPage: false, hasPreviousPage: false, endCursor: null };
const all = (nodes: readonly unknown[]): Fields => ({ nodes, pageInfo: NO_MORE });
const WHEN = '2026-11-01T10:00:00.000Z';
const ANA = {
  id: '22222222-2222-4222-8222-222222222222',
  name: 'Ana Lima',
  displayName: 'ana',
  email: 'ana@example.com',
  active: true,
  admin: true,
  guest: false,
};
const STATES = [
  { id: 's1', name: 'Todo', type: 'unstarted', position: 1 },
  { id: 's2', name: 'In Progress', type: 'started', position: 2 },
];
const ENG = { id: TEAM, key: 'ENG', name: 'Engineering', description: null, states: all(STATES) };
const LABELS = [
  { id: 'l1', name: 'Bug' },
  { id: 'l2', name: 'door' },
];
const PROJECT = {
  id: 'p1',
  name: 'Doors',
  description: 'All of them',
  content: '# Doors',
  url: 'https://linear.app/acme/project/doors',
  updatedAt: WHEN,
  status: {
    id: 'ps',
    name: 'In Progress',
    type: 'started',
  },
  health: 'atRisk',
  progress: 0.3333,
  startDate: null,
  targetDate: '2026-12-01',
  lead: ANA,
  teams: all([ENG]),
};

export interface LinearStandIn {
  readonly handler: Handler;
  /** Variables of the last request. */
  readonly variables: () => Fields;
}

export function linearStandIn(): LinearStandIn {
  let variables: Fields = {};
  const issues = new Map<string, Fields>();
  const comments: Fields[] = [];

  function makeIssue(identifier: string, input: Fields): Fields {
    const before = issues.get(identifier) ?? {
      assignee: null,
      state: STATES[0],
      labels: all([]),
      priority: 0,
      priorityLabel: 'No priority',
      description: null,
    };
    const issue: Fields = {
      id: `id-${identifier}`,
      identifier,
      branchName: `ana/${identifier.toLowerCase()}`,
      url: `https://linear.app/acme/issue/${identifier}`,
      createdAt: WHEN,
      updatedAt: WHEN,
      team: ENG,
      creator: ANA,
      children: all([]),
      comments: () => all(comments),
      ...before,
      ...Object.fromEntries(Object.entries(input).filter(([name]) => ['title', 'description', 'estimate', 'dueDate'].includes(name))),
      ...(input['stateId'] === undefined ? {} : { state: STATES.find(({ id }) => id === input['stateId']) }),
      ...('assigneeId' in input ? { assignee: input['assigneeId'] === ANA.id ? ANA : null } : {}),
      ...(input['labelIds'] === undefined ? {} : { labels: all(LABELS.filter(({ id }) => (input['labelIds'] as string[]).includes(id))) }),
      ...(input['priority'] === 2
        ? {
            priority: 2,
            priorityLabel: 'High',
          }
        : {}),
    };
    issues.set(identifier, issue);
    return issue;
  }

  function issueOf(id: string): Fields {
    const issue = issues.get(id) ?? [...issues.values()].find((each) => each['id'] === id);
    if (issue === undefined) throw new Error('Entity not found: Issue');
    return issue;
  }

  const root = {
    viewer: ANA,
    issue: ({ id }: { id: string }) => issueOf(id),
    issues({ first = 50, after }: { first?: number; after?: string }) {
      const list = [...issues.values()];
      const start = after === undefined ? 0 : Number(after);
      return {
        nodes: list.slice(start, start + first),
        pageInfo: { ...NO_MORE, hasNextPage: start + first < list.length, endCursor: String(start + first) },
      };
    },
    searchIssues({ term }: { term: string }) {
      const nodes = [...issues.values()].filter(({ title }) => String(title).includes(term));
      return { totalCount: nodes.length, ...all(nodes) };
    },
    issueLabels: () => all(LABELS),
    teams: ({ filter }: { filter?: { key?: { eq: string } } }) => all(filter?.key === undefined || filter.key.eq === 'ENG' ? [ENG] : []),
    users: ({ filter }: { filter?: { email?: { eqIgnoreCase: string } } }) =>
      all(filter?.email === undefined || filter.email.eqIgnoreCase === ANA.email ? [ANA] : []),
    projects: () => all([PROJECT]),
    project({ id }: { id: string }) {
      if (id !== 'p1') throw new Error('Entity not found: Project');
      return PROJECT;
    },
    issueCreate: ({ input }: { input: Fields }) => ({ success: true, issue: makeIssue(`ENG-${issues.size + 1}`, input) }),
    issueUpdate: ({ id, input }: { id: string; input: Fields }) => ({
      success: true,
      issue: makeIssue(String(issueOf(id)['identifier']), input),
    }),
    issueArchive: ({ id }: { id: string }) => ({ success: issueOf(id) !== undefined }),
    commentCreate({ input }: { input: Fields }) {
      issueOf(String(input['issueId']));
      const comment = {
        id: `c${comments.length + 1}`,
        body: input['body'],
        createdAt: WHEN,
        url: 'https://linear.app/c',
        user: ANA,
        parent: input['parentId'] ? { id: input['parentId'] } : null,
      };
      comments.push(comment);
      return { success: true, comment };
    },
    commentUpdate({ id, input }: { id: string; input: Fields }) {
      const comment = { ...comments.find((each) => each['id'] === id), body: input['body'] };
      return { success: true, comment };
    },
    projectUpdateCreate: () => ({ success: true, projectUpdate: { id: 'u1', body: '', health: 'onTrack', url: 'https://linear.app/u1' } }),
  };

  return {
    variables: () => variables,
    async handler({ headers, body }): Promise<Said> {
      if (headers.authorization !== KEY)
        return { status: 401, body: errorOf('Authentication required, not authenticated', 'authentication error') };
      const request = JSON.parse(body.toString()) as { query: string; variables: Fields };
      variables = request.variables;
      const { data, errors } = await graphql({ schema, source: request.query, variableValues: variables, rootValue: root });
      if (errors === undefined) return { body: { data } };
      const atAll = errors.some(({ path }) => path === undefined);
      return {
        status: atAll ? 400 : 200,
        body: { ...errorOf(errors[0]?.message ?? '', atAll ? 'graphql error' : 'invalid input'), data: null },
      };
    },
  };
}

function errorOf(message: string, type: string): { readonly errors: readonly unknown[] } {
  return { errors: [{ message, extensions: { type, userError: true, userPresentableMessage: message } }] };
}
