// From the head of a request to the targets that may have it, or to the refusal that says which rule is missing. Pure but for what it looks
// up: the same table and the same request give the same answer.

import type { LiveGroup } from '../dataplane/groups.ts';
import type { CanonicalTarget } from '../model/request-target.ts';
import { notUsed, PLATFORM_APP, serviceHost, serviceText, useOf, verdictOf } from '../model/service-policy.ts';
import type { ServiceName } from '../model/service-policy.ts';
import { askedOf } from './address.ts';
import type { Caller, IdentifyCaller } from './callers.ts';
import type { Parties } from './parties.ts';

export interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly hint: string;
  readonly retryAfterSeconds?: number;
}

export interface Way {
  readonly caller: Caller;
  readonly service: ServiceName;
  /** Of the provider. */
  readonly environment: string;
  readonly live: LiveGroup;
  /** Without the query. */
  readonly path: string;
  readonly authority: string;
  /** The platform's own API is told who calls by the caller's own credential. */
  readonly isPlatform: boolean;
  readonly rule: string;
}

export type Decision =
  | { readonly type: 'way'; readonly way: Way }
  | { readonly type: 'refused'; readonly refusal: Refusal; readonly caller: Caller | null; readonly service: ServiceName | null };

export interface PipelineDeps {
  readonly parties: Parties;
  readonly group: (id: string) => LiveGroup | null;
  readonly identify: IdentifyCaller;
}

/** The group of the platform's API in the table. */
const PLATFORM_GROUP = 'libra/api';
const PLATFORM_PATH = '/v1/librad';

/** @param known who calls, where that is clear without a token. */
export type Decide = (target: CanonicalTarget, method: string, token: string | undefined, known?: Caller | null) => Decision;

export function createDecide({ parties, group, identify }: PipelineDeps): Decide {
  return (target, method, token, known = null) => {
    const asked = askedOf(target);
    const refused = (refusal: Refusal, caller: Caller | null = null): Decision => ({
      type: 'refused',
      refusal,
      caller,
      service: asked?.service ?? null,
    });
    if (asked === null) {
      return refused({
        status: 404,
        code: 'not_found',
        detail: 'The request names no Service.',
        hint: 'Ask for /<app>.<service>/…, or for the host <service>.<app>.libra.',
      });
    }
    const identified = known === null ? identify(token) : { caller: known };
    if ('why' in identified) {
      const { why, hint, known: isKnown } = identified;
      return refused(
        isKnown === true
          ? { status: 403, code: 'forbidden', detail: why, hint }
          : { status: 401, code: 'unauthenticated', detail: why, hint },
      );
    }
    const { caller } = identified;
    const { service } = asked;
    const use = useOf(caller, service);
    if (use === null) {
      const { detail, hint } = notUsed(caller, service);
      return refused({ status: 403, code: 'forbidden', detail, hint }, caller);
    }
    if (service.app === PLATFORM_APP) {
      const live = group(PLATFORM_GROUP);
      if (live === null) return refused(away(`The platform’s API is not known here yet.`), caller);
      const path = `${PLATFORM_PATH}/${service.name}${asked.path === '/' ? '' : asked.path}`;
      const way = {
        caller,
        service,
        environment: caller.environment,
        live,
        path,
        authority: 'localhost',
        isPlatform: true,
        rule: use.name,
      };
      return { type: 'way', way };
    }
    const environment = use.environment ?? caller.environment;
    const provider = parties.named(service.app, environment);
    const provided = provider?.provides[service.name];
    if (provider === null || provided === undefined) {
      const detail = `${service.app}/${environment} provides no ${serviceText(service)}.`;
      return refused({ status: 404, code: 'not_found', detail, hint: hintOf(service, environment, use.environment) }, caller);
    }
    const ask = (path: string): ReturnType<typeof verdictOf> =>
      verdictOf(caller, provider, { name: service.name, allow: provided.allow }, { method, path });
    const verdict = ask(asked.path);
    if (!verdict.allowed) return refused({ status: 403, code: 'forbidden', detail: verdict.detail, hint: verdict.hint }, caller);
    if (asked.decodedPath !== null && !ask(asked.decodedPath).allowed) {
      const detail = 'An encoded slash in the path makes it unclear what is asked for.';
      return refused({ status: 400, code: 'invalid_input', detail, hint: 'Write the path without %2F and %5C.' }, caller);
    }
    const live = group(provided.group);
    if (live === null) return refused(away(`${serviceText(service)} of ${service.app}/${environment} has nothing that runs.`), caller);
    const base = provided.path.endsWith('/') ? provided.path.slice(0, -1) : provided.path;
    const path = `${base}${asked.path}`;
    const authority = serviceHost(service);
    return { type: 'way', way: { caller, service, environment, live, path, authority, isPlatform: false, rule: verdict.rule } };
  };
}

const away = (detail: string): Refusal => ({
  status: 503,
  code: 'unavailable',
  detail,
  hint: 'It may be starting: try again.',
  retryAfterSeconds: 1,
});

function hintOf({ app, name }: ServiceName, environment: string, mapped: string | null): string {
  const provide = `Deploy ${app} to ${environment} with \`provides: { ${name}: … }\` in its libra.yaml`;
  return mapped === null ? `${provide}, or say which Environment is meant: \`uses: [${app}/<environment>.${name}]\`.` : `${provide}.`;
}
