// Who may call a Service: what the caller's manifest says that it uses, and whom the provider's manifest lets in. Denied unless both say
// so, but for an App's own Services in its own Environment, which it only has to name. Every refusal names the rule that is missing.

import { PRODUCTION } from './names.ts';

/** Whom a Service lets in: `billing` is every Environment of the App, `billing/staging` one. With methods or paths: for these alone. */
export type ServiceGrant = string | { readonly app: string; readonly methods?: readonly string[]; readonly paths?: readonly string[] };

/** A Service as it is asked for: in the caller's own Environment, unless its `uses` says which. */
export interface ServiceName {
  readonly app: string;
  readonly name: string;
}

export interface CallingParty {
  readonly app: string;
  readonly environment: string;
  /** As its manifest has it: `billing.invoices`, `billing/staging.invoices`, `librad.kv`. */
  readonly uses: readonly string[];
}

/** What ends every name of a Service. */
export const SERVICE_HOST_END = '.libra';
/** The API Proxy itself, which is told the Service in the path. */
export const API_PROXY_HOST = `apiproxy${SERVICE_HOST_END}`;

/** Services of the platform itself stand under this name, which no App can have. */
export const PLATFORM_APP = 'librad';

/** The name by which a Service is reached where names lead to the API Proxy, and which it is told in `Host`. */
export const serviceHost = ({ app, name }: ServiceName): string => `${name}.${app}${SERVICE_HOST_END}`;

/** `billing.invoices`, which is also the text for people. */
export const serviceText = ({ app, name }: ServiceName): string => `${app}.${name}`;

/** The variable of an Instance that holds its address. */
export const serviceVariable = (service: ServiceName): string =>
  `LIBRA_SERVICE_${serviceText(service)
    .toUpperCase()
    .replaceAll(/[^A-Z0-9]/gu, '_')}`;

export interface UsedService extends ServiceName {
  /** null: the caller's own. */
  readonly environment: string | null;
}

/** What an entry of `uses` names. It is of the manifest's form. */
export function parseUse(use: string): UsedService {
  const dot = use.lastIndexOf('.');
  const [app = '', environment = null] = use.slice(0, dot).split('/');
  return { app, environment, name: use.slice(dot + 1) };
}

/** The entry of `uses` by which the caller may ask for the Service; null: there is none. */
export function useOf(caller: CallingParty, service: ServiceName): UsedService | null {
  for (const use of caller.uses) {
    const parsed = parseUse(use);
    if (parsed.app === service.app && parsed.name === service.name) return parsed;
  }
  return null;
}

export type Verdict =
  | { readonly allowed: true; readonly rule: string }
  | { readonly allowed: false; readonly detail: string; readonly hint: string };

/** What its manifest has to say first. */
export function notUsed(caller: CallingParty, service: ServiceName): { readonly detail: string; readonly hint: string } {
  const text = serviceText(service);
  return {
    detail: `${caller.app}/${caller.environment} does not use ${text}.`,
    hint: `Add ${text} to \`uses\` in its libra.yaml and deploy it.`,
  };
}

/**
 * Whether the provider lets it in.
 * @param path below the Service's own, canonical, beginning with `/`.
 */
export function verdictOf(
  caller: CallingParty,
  provider: { readonly app: string; readonly environment: string },
  service: { readonly name: string; readonly allow: readonly ServiceGrant[] },
  request: { readonly method: string; readonly path: string },
): Verdict {
  const who = `${caller.app}/${caller.environment}`;
  const text = serviceText({ app: provider.app, name: service.name });
  if (caller.app === provider.app && caller.environment === provider.environment) return { allowed: true, rule: `${who} is its own` };
  const naming = service.allow.filter((grant) => namesCaller(appOf(grant), caller));
  for (const grant of naming) {
    if (covers(grant, request)) return { allowed: true, rule: grantText(grant) };
  }
  const provided = `\`provides.${service.name}.allow\` in the libra.yaml of ${provider.app}`;
  if (naming.length === 0) {
    return {
      allowed: false,
      detail: `${text} of ${provider.app}/${provider.environment} does not allow ${who}.`,
      hint: `Let whoever has ${provider.app} add ${caller.environment === PRODUCTION ? caller.app : who} to ${provided}.`,
    };
  }
  return {
    allowed: false,
    detail: `${text} of ${provider.app}/${provider.environment} does not allow ${who} to ${request.method} ${request.path}: it has ${naming.map(grantText).join(', ')}.`,
    hint: `Let whoever has ${provider.app} change ${provided}.`,
  };
}

const appOf = (grant: ServiceGrant): string => (typeof grant === 'string' ? grant : grant.app);

function namesCaller(named: string, { app, environment }: CallingParty): boolean {
  return named === app || named === `${app}/${environment}`;
}

function covers(grant: ServiceGrant, { method, path }: { readonly method: string; readonly path: string }): boolean {
  if (typeof grant === 'string') return true;
  const { methods, paths } = grant;
  // Whoever may read may look whether it is there.
  const asked = method === 'HEAD' ? ['HEAD', 'GET'] : [method];
  if (methods !== undefined && !asked.some((each) => methods.includes(each))) return false;
  return paths === undefined || paths.some((prefix) => isBelow(path, prefix));
}

/** On whole segments, as Routes match. */
function isBelow(path: string, prefix: string): boolean {
  const base = prefix.endsWith('/') ? prefix.slice(0, -1) : prefix;
  return path === base || path.startsWith(`${base}/`);
}

function grantText(grant: ServiceGrant): string {
  if (typeof grant === 'string') return grant;
  const { app, methods, paths } = grant;
  return [app, ...(methods === undefined ? [] : [methods.join('|')]), ...(paths === undefined ? [] : [paths.join('|')])].join(' ');
}

/** What a program is told of the way to Services. Which Environment is meant knows the API Proxy: the address has none. @param apiProxy URL */
export function serviceVariables(apiProxy: string, uses: readonly string[]): Readonly<Record<string, string>> {
  const services = uses.map(parseUse);
  return {
    LIBRA_APIPROXY: apiProxy,
    ...Object.fromEntries(services.map((service) => [serviceVariable(service), `${apiProxy}/${serviceText(service)}`])),
  };
}
