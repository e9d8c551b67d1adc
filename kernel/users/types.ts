/** People and their sessions, as everybody sees them. */

export const USER_ROLES = ['viewer', 'operator', 'approver', 'admin'] as const;

/** What a person may do; besides, gates name roles of their own, which are roles of the principal `user:<name>`. */
export type UserRole = (typeof USER_ROLES)[number];

export interface UserView {
  readonly user_id: string;
  readonly name: string;
  readonly display_name: string;
  readonly role: UserRole;
  /** As gates name them: `finance` for `role:finance`. */
  readonly roles: readonly string[];
  readonly email: string | null;
  readonly has_password: boolean;
  /** Until when a password counts that an admin was shown, and that is still to be replaced. */
  readonly temporary_until: string | null;
  /** Issuers of the providers by which they sign in. */
  readonly providers: readonly string[];
  readonly created_at: string;
  readonly updated_at: string;
  readonly last_sign_in_at: string | null;
  readonly disabled_at: string | null;
}

export interface NewUser {
  /** 1 to 64 small letters, digits, ".", "-" and "_". It stays, and nobody else gets it. */
  readonly name: string;
  readonly display_name?: string | undefined;
  readonly role: UserRole;
  readonly email?: string | null | undefined;
}

/** What is undefined stays. */
export interface UserChange extends Pick<NewUser, 'display_name' | 'email'> {
  readonly role?: UserRole | undefined;
}

export type SessionKind = 'browser' | 'cli';

/** Where a request comes from, for people who look at their sessions, and for counting tries. */
export interface Source {
  readonly address: string | null;
  readonly agent: string | null;
}

export interface SessionView {
  readonly session_id: string;
  readonly kind: SessionKind;
  readonly how: 'password' | 'oidc';
  readonly address: string | null;
  readonly agent: string | null;
  readonly proven_at: string;
  readonly created_at: string;
  readonly seen_at: string;
  /** At the latest; earlier when nobody uses it. */
  readonly expires_at: string;
}

/** Whose session a request belongs to, as it stands now. */
export interface SessionUser {
  readonly sessionId: string;
  readonly userId: string;
  readonly name: string;
  readonly displayName: string;
  readonly role: UserRole;
  readonly roles: readonly string[];
  readonly kind: SessionKind;
  readonly how: 'password' | 'oidc';
  readonly hasPassword: boolean;
  /** Unix milliseconds. */
  readonly provenAt: number;
  /** Unix milliseconds; at the latest. */
  readonly expiresAt: number;
}

/** The token is shown once, and kept by nobody but whom it is given to. */
export interface BegunSession {
  readonly token: string;
  readonly user: SessionUser;
}
