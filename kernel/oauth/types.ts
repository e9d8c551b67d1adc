/** OAuth apps and the accounts that are connected by them, as they are asked for and shown. */
import type { Provider } from './providers.ts';

/** All of an app, as it is sealed. */
export interface OAuthApp {
  readonly name: string;
  readonly provider: Provider;
  readonly client_id: string;
  /** Null: a public client, which proves itself by PKCE alone. */
  readonly client_secret: string | null;
  readonly authorize_url: string | null;
  readonly token_url: string;
  readonly device_url: string | null;
  readonly revoke_url: string | null;
  /** Held against the `iss` of an answer, where one is sent. */
  readonly issuer: string | null;
  readonly scopes: readonly string[];
  readonly scope_separator: string;
  /** More of the authorize URL. */
  readonly authorize_params: Readonly<Record<string, string>>;
  /** Where its tokens may go. */
  readonly hosts: readonly string[];
  /** Name of the secret that it makes. */
  readonly secret: string;
  /** How the token stands in the authorization header of every request to the hosts; null: where its placeholder is sent. */
  readonly inject: string | null;
}

/** Without the client's secret. */
export interface OAuthAppView extends Omit<OAuthApp, 'client_secret'> {
  readonly has_client_secret: boolean;
  /** To be registered at the provider. Null: it has no browser flow, or there is no address for people's browsers. */
  readonly redirect_uri: string | null;
  readonly created_at: string;
  readonly updated_at: string;
}

/** What is not said is as the provider's preset has it; `client_secret` undefined: the one that is there. */
export type OAuthAppRequest = {
  readonly provider: Provider;
  readonly client_id: string;
  readonly client_secret?: string | null | undefined;
} & {
  readonly [Field in Exclude<keyof OAuthApp, 'name' | 'provider' | 'client_id' | 'client_secret'>]?: OAuthApp[Field] | undefined;
};

export interface ConnectRequest {
  readonly app: string;
  /** Whose account it is. Undefined: everybody's. */
  readonly user?: string | undefined;
  /** Default `code`: in the browser. */
  readonly flow?: 'code' | 'device' | undefined;
}

export type ConnectionStatus = 'pending' | 'connected' | 'broken' | 'failed' | 'expired' | 'revoked' | 'replaced';

export interface ConnectionView {
  readonly connection_id: string;
  readonly app: string;
  readonly user: string | null;
  readonly flow: 'code' | 'device';
  readonly status: ConnectionStatus;
  /** A code. */
  readonly reason: string | null;
  readonly secret: string;
  readonly scopes: readonly string[];
  /** When its token ends, which nobody can refresh; null: it is refreshed, or does not end. */
  readonly token_ends_at: string | null;
  readonly expires_at: string;
  readonly created_at: string;
  readonly updated_at: string;
}

/** What a person is to do now. */
export type StartedConnection = ConnectionView & {
  readonly authorize_url: string | null;
  readonly device: {
    readonly user_code: string;
    readonly verification_uri: string;
    readonly verification_uri_complete: string | null;
  } | null;
};

export interface RevokedConnection {
  readonly connection_id: string;
  readonly revoked: true;
  /** `none`: it has no endpoint for that, or there was nothing to take back any more. */
  readonly at_provider: 'revoked' | 'failed' | 'none';
}

/** How a callback ended, for the page that says so. */
export type CallbackOutcome = 'connected' | 'denied' | 'failed' | 'unknown';

export interface CallbackResult {
  readonly outcome: CallbackOutcome;
  /** Of the attempt; undefined where it is not known. */
  readonly attempt: { readonly app: string; readonly user: string | null } | undefined;
}
