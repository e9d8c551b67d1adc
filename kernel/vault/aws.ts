/** AWS: credentials from the environment, and Signature Version 4. */
import { createHash, createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';

export interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
}

export interface AwsRequest {
  readonly method: string;
  readonly url: URL;
  /** Names in lower case. All of them are signed, with `host`, `x-amz-date` and what else is needed. */
  readonly headers: Readonly<Record<string, string>>;
  /** Undefined: the payload is not signed, as for streams. */
  readonly body: string | Buffer | undefined;
  readonly region: string;
  readonly service: string;
  readonly credentials: AwsCredentials;
  readonly now: Date;
}

/** From the variables, else from the container's or the machine's metadata service. */
export async function awsCredentials(environment: Readonly<Record<string, string | undefined>>): Promise<AwsCredentials> {
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN } = environment;
  if (AWS_ACCESS_KEY_ID !== undefined && AWS_SECRET_ACCESS_KEY !== undefined)
    return { accessKeyId: AWS_ACCESS_KEY_ID, secretAccessKey: AWS_SECRET_ACCESS_KEY, sessionToken: AWS_SESSION_TOKEN };
  const relative = environment['AWS_CONTAINER_CREDENTIALS_RELATIVE_URI'];
  const full =
    environment['AWS_CONTAINER_CREDENTIALS_FULL_URI'] ?? (relative === undefined ? undefined : `http://169.254.170.2${relative}`);
  if (full === undefined) return instanceCredentials();
  const tokenFile = environment['AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE'];
  const authorization =
    tokenFile === undefined ? environment['AWS_CONTAINER_AUTHORIZATION_TOKEN'] : (await readFile(tokenFile, 'utf8')).trim();
  return readCredentials(
    await fetch(full, { headers: authorization === undefined ? {} : { authorization }, signal: AbortSignal.timeout(3000) }),
  );
}

async function instanceCredentials(): Promise<AwsCredentials> {
  const base = 'http://169.254.169.254/latest';
  const signal = AbortSignal.timeout(3000);
  const token = await (
    await fetch(`${base}/api/token`, { method: 'PUT', headers: { 'x-aws-ec2-metadata-token-ttl-seconds': '300' }, signal })
  ).text();
  const headers = { 'x-aws-ec2-metadata-token': token };
  const role = (await (await fetch(`${base}/meta-data/iam/security-credentials/`, { headers, signal })).text()).trim();
  return readCredentials(await fetch(`${base}/meta-data/iam/security-credentials/${role}`, { headers, signal }));
}

async function readCredentials(response: Response): Promise<AwsCredentials> {
  if (!response.ok) throw new Error(`AWS credentials: the metadata service answered ${response.status}`);
  const { AccessKeyId, SecretAccessKey, Token } = (await response.json()) as Record<string, string>;
  if (AccessKeyId === undefined || SecretAccessKey === undefined)
    throw new Error('AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run with a role');
  return { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey, sessionToken: Token };
}

/** So that what is meant for AWS goes nowhere else: the region becomes part of a host name. */
export function isRegion(text: string): boolean {
  return /^[a-z0-9-]{1,40}$/.test(text);
}

export function awsDomain(region: string): string {
  return region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com';
}

/** The request's headers with the signature among them. */
export function signAws(request: AwsRequest): Record<string, string> {
  const { method, url, credentials, region, service } = request;
  const stamp = request.now.toISOString().replaceAll(/[-:]|\.\d{3}/g, '');
  const day = stamp.slice(0, 8);
  const payload = request.body === undefined ? 'UNSIGNED-PAYLOAD' : sha256(request.body);
  const headers: Record<string, string> = {
    ...request.headers,
    host: url.host,
    'x-amz-date': stamp,
    ...(service === 's3' || request.body === undefined ? { 'x-amz-content-sha256': payload } : {}),
    ...(credentials.sessionToken === undefined ? {} : { 'x-amz-security-token': credentials.sessionToken }),
  };
  const names = Object.keys(headers).sort();
  const canonical = [
    method,
    canonicalPath(url.pathname, service),
    canonicalQuery(url),
    ...names.map((name) => `${name}:${(headers[name] as string).trim().replaceAll(/ +/g, ' ')}`),
    '',
    names.join(';'),
    payload,
  ].join('\n');
  const scope = `${day}/${region}/${service}/aws4_request`;
  const key = [day, region, service, 'aws4_request'].reduce<Buffer>(
    (signing, part) => hmac(signing, part),
    Buffer.from(`AWS4${credentials.secretAccessKey}`),
  );
  const signature = hmac(key, `AWS4-HMAC-SHA256\n${stamp}\n${scope}\n${sha256(canonical)}`).toString('hex');
  return {
    ...headers,
    authorization: `AWS4-HMAC-SHA256 Credential=${credentials.accessKeyId}/${scope}, SignedHeaders=${names.join(';')}, Signature=${signature}`,
  };
}

/** All services but S3 have the path encoded once more. */
function canonicalPath(path: string, service: string): string {
  const once = path.split('/').map((segment) => encode(decode(segment)));
  return (service === 's3' ? once : once.map(encode)).join('/');
}

function canonicalQuery(url: URL): string {
  const pairs = url.search
    .slice(1)
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => {
      const cut = pair.indexOf('=');
      const name = cut < 0 ? pair : pair.slice(0, cut);
      return [encode(decode(name)), encode(decode(cut < 0 ? '' : pair.slice(cut + 1)))] as const;
    });
  pairs.sort(([a, x], [b, y]) => (a < b ? -1 : a > b ? 1 : x < y ? -1 : x > y ? 1 : 0));
  return pairs.map(([name, value]) => `${name}=${value}`).join('&');
}

function encode(text: string): string {
  return encodeURIComponent(text).replaceAll(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function sha256(data: string | Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}
