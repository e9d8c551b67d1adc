/**
 * What this copy of the tool may call. The built-in one calls nothing: copy the folder into an overlay under a name of its own, and
 * name your APIs here. See README.md.
 *
 * What is declared here is all that the tool's process can reach: the firewall holds it to that, whatever a document says.
 */
export interface Api {
  /** What agents call it. */
  readonly name: string;
  readonly description?: string;
  /** OpenAPI 3 as JSON: a file in this folder, or an `https://` address. */
  readonly document: string;
  /** Where the API is. Default: the document's first server. Needed when the document is a file without an absolute one. */
  readonly server?: string;
  readonly auth?: ApiAuth;
  /** Only these operations, by operationId or `GET /pets/{id}`. Default: all. */
  readonly operations?: readonly string[];
}

export interface ApiAuth {
  /** Name of the secret in the vault. */
  readonly secret: string;
  /** Header it goes into. Default `authorization`. */
  readonly header?: string;
  /** Parameter of the query it goes into, instead of a header. */
  readonly query?: string;
  /** What goes before it. Default `Bearer ` in the header `authorization`, nothing elsewhere. */
  readonly prefix?: string;
  /** For people: where to get one. */
  readonly description?: string;
}

export const APIS: readonly Api[] = [];

/** More hosts of which agents may name documents by address, and whose operations they may call, without a key: `api.example.com`. */
export const HOSTS: readonly string[] = [];
