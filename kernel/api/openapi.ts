/** The OpenAPI 3.1 document, made from the routes and the schemas that they check with. */
import { CARE_ERRORS } from '../care/index.ts';
import { ENGINE_ERRORS } from '../engine/index.ts';
import { z } from 'zod';
import { OAUTH_ERRORS } from '../oauth/index.ts';
import { SIGN_IN_ERRORS } from '../oidc/index.ts';
import { TOOL_ERRORS } from '../tools/index.ts';
import { USER_ERRORS } from '../users/index.ts';
import { WEBHOOK_ERRORS } from '../webhooks/index.ts';
import { API_ERRORS, POLICY_ERRORS, VAULT_ERRORS } from './errors.ts';
import type { Route } from './route.ts';
import { components, ErrorSchema } from './schemas.ts';

type Json = Record<string, unknown>;

export function openApiDocument(routes: readonly Route[], version: string): Json {
  const shared: Json = {};
  const paths: Record<string, Json> = {};
  for (const route of routes) (paths[route.path] ??= {})[route.method.toLowerCase()] = operation(route, shared);
  return {
    openapi: '3.1.0',
    info: {
      title: 'Centaur',
      version,
      description: 'Durable workflows and a credential firewall on your own Postgres. Every path also answers under /api.',
    },
    servers: [{ url: '/' }],
    security: [{ apiKey: [] }, { bearer: [] }],
    paths,
    components: {
      securitySchemes: { apiKey: { type: 'apiKey', in: 'header', name: 'X-Api-Key' }, bearer: { type: 'http', scheme: 'bearer' } },
      schemas: Object.fromEntries(Object.entries(shared).toSorted(([a], [b]) => (a < b ? -1 : 1))),
    },
  };
}

function operation(route: Route, shared: Json): Json {
  const schemaOf = (schema: z.ZodType, io: 'input' | 'output') => toSchema(schema, io, shared);
  return {
    operationId: route.id,
    tags: [route.group],
    summary: route.summary,
    ...(route.description === undefined ? {} : { description: route.description }),
    ...(route.access === 'public' ? { security: [] } : { 'x-scopes': scopesOf(route) }),
    ...(route.params === undefined && route.query === undefined
      ? {}
      : { parameters: [...parameters(route.params, 'path', shared), ...parameters(route.query, 'query', shared)] }),
    ...(route.body === undefined
      ? {}
      : {
          requestBody: {
            required: true,
            content: {
              'application/json': {
                schema:
                  route.bodyMany === undefined
                    ? schemaOf(route.body, 'input')
                    : { anyOf: [schemaOf(route.body, 'input'), schemaOf(z.array(route.body).max(route.bodyMany.max), 'input')] },
                ...(route.example === undefined ? {} : { example: route.example }),
              },
            },
          },
        }),
    responses: {
      ...Object.fromEntries(
        Object.entries(route.responses).map(([status, { description, schema, contentType }]) => [
          status,
          {
            description,
            ...(schema === undefined && contentType === undefined
              ? {}
              : {
                  content: {
                    [contentType ?? 'application/json']: { schema: schema === undefined ? { type: 'string' } : schemaOf(schema, 'output') },
                  },
                }),
          },
        ]),
      ),
      ...Object.fromEntries(
        [...errorsByStatus(route)].map(([status, codes]) => [
          status,
          {
            description: codes.map((code) => `\`${code}\``).join(', '),
            content: { 'application/json': { schema: schemaOf(ErrorSchema, 'output') } },
          },
        ]),
      ),
    },
  };
}

/** Any of these scopes opens the route; `admin` always does. */
export function scopesOf(route: Route): string[] {
  if (route.access === 'public') return [];
  // those of every role are among those of a session
  if (route.access === 'person') return ['session'];
  const { scope, perWorkflow, perTool } = route.access;
  return [
    ...new Set([
      scope,
      ...(scope === 'workflows.read' ? ['workflows:*'] : []),
      ...(perWorkflow ? ['workflows:<name>'] : []),
      ...(perTool ? ['tools:<name>'] : []),
      'admin',
    ]),
  ];
}

/** Every code a route may answer with, by status in rising order. */
export function errorsByStatus(route: Route): Map<number, string[]> {
  const codes = [
    ...(route.access === 'public' ? [] : ['UNAUTHENTICATED', 'FORBIDDEN', 'STORE_UNAVAILABLE']),
    ...(route.body === undefined ? [] : ['MALFORMED_JSON', 'UNSUPPORTED_MEDIA_TYPE', 'TOO_LARGE']),
    ...(route.raw ? [] : ['INVALID_REQUEST']),
    ...(route.errors ?? []),
    'INTERNAL',
  ];
  const statuses = {
    ...ENGINE_ERRORS,
    ...VAULT_ERRORS,
    ...POLICY_ERRORS,
    ...WEBHOOK_ERRORS,
    ...TOOL_ERRORS,
    ...CARE_ERRORS,
    ...OAUTH_ERRORS,
    ...USER_ERRORS,
    ...SIGN_IN_ERRORS,
    ...API_ERRORS,
  } as Readonly<Record<string, number>>;
  const grouped = new Map<number, string[]>();
  for (const code of codes) {
    const status = statuses[code] ?? 500;
    grouped.set(status, [...(grouped.get(status) ?? []), code]);
  }
  return new Map([...grouped].toSorted(([a], [b]) => a - b));
}

function parameters(schema: z.ZodType | undefined, where: 'path' | 'query', shared: Json): Json[] {
  if (!(schema instanceof z.ZodObject)) return [];
  return Object.entries(schema.shape).map(([name, field]) => {
    const { description, ...rest } = toSchema(field as z.ZodType, 'input', shared);
    return { name, in: where, required: where === 'path', ...(description === undefined ? {} : { description }), schema: rest };
  });
}

/** A schema's JSON Schema; the named ones in it move to `shared` and are referred to. */
export function toSchema(schema: z.ZodType, io: 'input' | 'output', shared: Json): Json {
  const {
    $schema: _,
    $defs,
    ...json
  } = z.toJSONSchema(schema, {
    metadata: components,
    io,
    unrepresentable: 'any',
    override: ({ jsonSchema }) => {
      // An answer may gain fields; only requests are held to theirs
      if (io === 'output' && jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties;
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
    },
  }) as Json;
  const id = components.get(schema)?.id;
  for (const [name, definition] of Object.entries(($defs as Record<string, Json> | undefined) ?? {})) shared[name] ??= relocate(definition);
  if (id === undefined) return relocate(json) as Json;
  shared[id] ??= relocate(json);
  return { $ref: `#/components/schemas/${id}` };
}

function relocate(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(relocate);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [
      key,
      key === '$ref' && typeof member === 'string' ? member.replace(/^#\/\$defs\//, '#/components/schemas/') : relocate(member),
    ]),
  );
}
