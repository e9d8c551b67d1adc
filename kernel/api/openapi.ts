import { z } from 'zod';
import { ENGINE_ERRORS } from '../engine/index.ts';
import { API_ERRORS } from './errors.ts';
import { ROUTES, type Route } from './routes.ts';

/** The OpenAPI 3.1 document of the route table. */
export function openApiDocument(version: string): unknown {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of ROUTES) (paths[route.path] ??= {})[route.method.toLowerCase()] = operation(route);
  return {
    openapi: '3.1.0',
    info: { title: 'Centaur', version, description: 'Every path is also served below /api.' },
    paths,
    components: {
      securitySchemes: { apiKey: { type: 'apiKey', in: 'header', name: 'X-Api-Key' }, bearer: { type: 'http', scheme: 'bearer' } },
      schemas: {
        Error: {
          type: 'object',
          required: ['code', 'message'],
          properties: { code: { enum: [...new Set([...Object.keys(API_ERRORS), ...Object.keys(ENGINE_ERRORS)])] }, message: { type: 'string' }, details: {} },
        },
      },
    },
  };
}

function operation(route: Route): unknown {
  const names = [...route.path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] as string);
  return {
    summary: route.summary,
    ...(route.scopes === 'open' ? { security: [] } : { security: [{ apiKey: [] }, { bearer: [] }], 'x-scopes': ['admin', ...route.scopes] }),
    parameters: [
      ...names.map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } })),
      ...(route.query ?? []).map((name) => ({ name, in: 'query', schema: { type: 'string' } })),
    ],
    ...(route.body === undefined ? {} : { requestBody: { required: true, content: { 'application/json': { schema: z.toJSONSchema(route.body, { io: 'input' }) } } } }),
    responses: {
      '2XX': { description: 'Done' },
      default: { description: 'Refused', content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } } },
    },
  };
}
