/** What a route is: one entry of the table that drives routing, keys, validation and the documents alike. */
import type { IncomingMessage } from 'node:http';
import type { z } from 'zod';
import type { AuditEntry } from '../audit/index.ts';
import type { Reply } from './reply.ts';
import type { Access, Caller } from './scopes.ts';
import type { Services } from './services.ts';

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

/** A request that has passed its key and its schemas. */
export interface Call<Params = unknown, Query = unknown, Body = unknown> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  readonly caller: Caller;
  readonly request: Request;
  /** As it came from the socket; undefined without one. */
  readonly incoming: IncomingMessage | undefined;
  /** From a `traceparent` header; 32 hex digits. */
  readonly traceId: string | undefined;
  /** Ends the connection so that the client sees that the answer is not whole; undefined without a socket. */
  readonly hangUp: (() => void) | undefined;
}

export type Attribution = Pick<AuditEntry, 'action' | 'resource' | 'runId' | 'threadKey' | 'details'>;

/** A `Response` for what is not JSON. */
export type Answer = Reply | Response;

export interface ResponseDoc {
  readonly description: string;
  readonly schema?: z.ZodType;
  /** Default `application/json`. */
  readonly contentType?: string;
}

export interface RouteSpec<Params extends z.ZodType = z.ZodType, Query extends z.ZodType = z.ZodType, Body extends z.ZodType = z.ZodType> {
  /** Name of the operation: unique, in camel case. */
  readonly id: string;
  readonly method: Method;
  /** With `{name}` for parameters, without `/api`. */
  readonly path: string;
  readonly group:
    | 'Runs'
    | 'Events'
    | 'Workflows'
    | 'Webhooks'
    | 'Threads'
    | 'Inbox'
    | 'Deliveries'
    | 'Chats'
    | 'Tools'
    | 'Queues'
    | 'Secrets'
    | 'Accounts'
    | 'Users'
    | 'Leases'
    | 'Policy'
    | 'Approvals'
    | 'Audit'
    | 'Usage'
    | 'Traces'
    | 'Keys'
    | 'Data'
    | 'Operations';
  readonly summary: string;
  readonly description?: string;
  readonly access: Access;
  readonly params?: Params;
  readonly query?: Query;
  readonly body?: Body;
  /** For what others define: it gets every method and any query, and reads its body itself. `method` is for the documents. */
  readonly raw?: true;
  /** Also takes an array of bodies, up to this many. */
  readonly bodyMany?: { readonly max: number };
  /** Default: that of the server. */
  readonly maxBodyBytes?: number;
  readonly example?: unknown;
  readonly responses: Readonly<Record<number, ResponseDoc>>;
  /** Codes beside those that any route may answer with. */
  readonly errors?: readonly string[];
  /**
   * Of what is changed without an entry of its own: what the log is told before it is done. Nothing of what a request carries but names.
   * When it is refused then, or fails, an outcome says so.
   */
  attribute?(call: Pick<Call<z.output<Params>, z.output<Query>, z.output<Body>>, 'params' | 'body'>): Attribution;
  // A method and not a property: so that routes with different schemas fit into one table
  handle(call: Call<z.output<Params>, z.output<Query>, z.output<Body>>, services: Services): Promise<Answer> | Answer;
}

export type Route = RouteSpec;

/** Ties a handler's types to its schemas. */
export function route<Params extends z.ZodType, Query extends z.ZodType, Body extends z.ZodType>(
  spec: RouteSpec<Params, Query, Body>,
): Route {
  return spec;
}

/** Who a change is by, in the audit log. */
export const actorOf = ({ keyId, user }: Caller): string => (user === undefined ? `key:${keyId}` : `user:${user.name}`);

export const ok = (body: unknown): Reply => ({ status: 200, body });
