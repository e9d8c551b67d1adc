/** Teams, people, projects. */
import { method } from '@centaur/sdk';
import * as z from 'zod';
import { compact } from '../_shared/results.ts';
import { type Connection, defined, found, mutate, page, PAGE_INFO, paging, query } from './api.ts';

interface RawUser {
  readonly id: string;
  readonly name: string;
  readonly displayName: string;
  readonly email: string;
  readonly active: boolean;
  readonly admin: boolean;
  readonly guest: boolean;
}

interface RawTeam {
  readonly id: string;
  readonly key: string;
  readonly name: string;
  readonly description?: string | null;
  readonly states: { readonly nodes: readonly { readonly name: string; readonly type: string }[] };
}

interface RawProject {
  readonly id: string;
  readonly name: string;
  readonly description?: string;
  readonly content?: string | null;
  readonly url: string;
  readonly status: { readonly name: string; readonly type: string };
  readonly health?: string | null;
  readonly progress: number;
  readonly startDate?: string | null;
  readonly targetDate?: string | null;
  readonly lead?: { readonly displayName: string; readonly email: string } | null;
  readonly teams: { readonly nodes: readonly { readonly key: string }[] };
  readonly updatedAt: string;
}

const USER = 'id name displayName email active admin guest';
const PROJECT = `id name description url status { name type } health progress startDate targetDate
  lead { displayName email } teams(first: 20) { nodes { key } } updatedAt`;

const project = z.string().min(1).describe('Id of the project; list_projects shows them');

export const workspaceMethods = {
  get_me: method({
    description: 'Whose key this is.',
    risk: 'read',
    input: z.strictObject({}),
    run: async (_input, ctx) => toUser((await query<{ readonly viewer: RawUser }>(ctx, `query { viewer { ${USER} } }`)).viewer),
  }),

  list_teams: method({
    description: 'Teams with the states that their issues can have.',
    risk: 'read',
    input: z.strictObject({ ...paging }),
    async run({ cursor, limit }, ctx) {
      const { teams } = await query<{ readonly teams: Connection<RawTeam> }>(
        ctx,
        `query ($first: Int, $after: String) {
          teams(first: $first, after: $after) { nodes { id key name description states { nodes { name type } } } ${PAGE_INFO} } }`,
        { first: limit, after: cursor },
      );
      return page(teams, ({ id, key, name, description, states }) =>
        compact({ key, id, name, description, states: states.nodes.map(({ name, type }) => ({ name, type })) }),
      );
    },
  }),

  list_users: method({
    description: 'People of the workspace.',
    risk: 'read',
    input: z.strictObject({ email: z.email().optional(), ...paging }),
    async run({ email, cursor, limit }, ctx) {
      const { users } = await query<{ readonly users: Connection<RawUser> }>(
        ctx,
        `query ($filter: UserFilter, $first: Int, $after: String) {
          users(filter: $filter, first: $first, after: $after) { nodes { ${USER} } ${PAGE_INFO} } }`,
        { filter: defined({ email: email && { eqIgnoreCase: email } }), first: limit, after: cursor },
      );
      return page(users, toUser);
    },
  }),

  list_projects: method({
    description: 'Projects, last changed first.',
    risk: 'read',
    input: z.strictObject({
      team: z.string().min(1).optional().describe('Key of a team'),
      name: z.string().min(1).optional().describe('Part of the name'),
      status_types: z
        .array(z.enum(['backlog', 'planned', 'started', 'paused', 'completed', 'canceled']))
        .min(1)
        .optional(),
      ...paging,
    }),
    async run({ team, name, status_types, cursor, limit }, ctx) {
      const filter = defined({
        accessibleTeams: team && { some: { key: { eq: team } } },
        name: name && { containsIgnoreCase: name },
        status: status_types && { type: { in: status_types } },
      });
      const { projects } = await query<{ readonly projects: Connection<RawProject> }>(
        ctx,
        `query ($filter: ProjectFilter, $first: Int, $after: String) {
          projects(filter: $filter, first: $first, after: $after, orderBy: updatedAt) { nodes { ${PROJECT} } ${PAGE_INFO} } }`,
        { filter, first: limit, after: cursor },
      );
      return page(projects, toProject);
    },
  }),

  get_project: method({
    description: 'One project with its text.',
    risk: 'read',
    input: z.strictObject({ project }),
    async run(input, ctx) {
      const data = await query<{ readonly project: RawProject | null }>(
        ctx,
        `query ($id: String!) { project(id: $id) { ${PROJECT} content } }`,
        {
          id: input.project,
        },
      );
      const raw = found(data.project, `project ${input.project}`);
      return compact({ ...toProject(raw), content: raw.content });
    },
  }),

  post_project_update: method({
    description: 'Reports how a project is doing; those who follow it are told.',
    risk: 'write',
    input: z.strictObject({ project, body: z.string().min(1).describe('Markdown'), health: z.enum(['onTrack', 'atRisk', 'offTrack']) }),
    async run({ project, body, health }, ctx) {
      const { projectUpdateCreate } = await mutate<{
        readonly projectUpdateCreate: { readonly projectUpdate: { readonly id: string; readonly url: string } };
      }>(ctx, 'mutation ($input: ProjectUpdateCreateInput!) { projectUpdateCreate(input: $input) { projectUpdate { id url } } }', {
        input: { projectId: project, body, health },
      });
      return projectUpdateCreate.projectUpdate;
    },
  }),
};

function toUser(raw: RawUser): Record<string, unknown> {
  return compact({
    id: raw.id,
    name: raw.name,
    display_name: raw.displayName,
    email: raw.email,
    inactive: raw.active ? undefined : true,
    admin: raw.admin ? true : undefined,
    guest: raw.guest ? true : undefined,
  });
}

function toProject(raw: RawProject): Record<string, unknown> {
  return compact({
    id: raw.id,
    name: raw.name,
    description: raw.description,
    status: raw.status.name,
    status_type: raw.status.type,
    health: raw.health,
    progress: Math.round(raw.progress * 100) / 100,
    start_date: raw.startDate,
    target_date: raw.targetDate,
    lead: raw.lead?.email,
    teams: raw.teams.nodes.map(({ key }) => key),
    updated_at: raw.updatedAt,
    url: raw.url,
  });
}
