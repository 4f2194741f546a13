// librad.discovery: what the caller can reach through the API Proxy and how many answer there, by the rules by which the API Proxy decides.

import type { table } from '../../api/table.ts';
import type { ReplyOf } from '../../api/endpoint.ts';
import { Failure } from '../../lib/failure.ts';
import type { App, Environment } from '../../model/documents.ts';
import { parseUse, PLATFORM_APP, serviceHost, serviceText, verdictOf } from '../../model/service-policy.ts';
import { appRecords } from '../apps/records.ts';
import { instanceStatusRecords } from '../cluster/records.ts';
import type { ControlContext } from '../context.ts';
import { environmentState } from '../deploys/environment-state.ts';
import { deploymentRecords, environmentRecords, instanceSpecRecords } from '../deploys/records.ts';
import type { NounHandlers } from '../handler.ts';
import { providesOf, usesOf } from '../routing/environment-input.ts';
import { followLevel } from './level.ts';
import { placeOf } from './place.ts';
import type { Place } from './place.ts';

type Discovery = ReplyOf<(typeof table.discovery)['get']>;
type Service = Discovery['services'][number];

/** Of a rollout every Instance changes something several times; nobody needs to hear of each. */
const PAUSE_MS = 500;
const TOUCHING = [appRecords, environmentRecords, deploymentRecords, instanceSpecRecords, instanceStatusRecords].map(({ name }) => name);

export interface DiscoveryDeps {
  readonly urlOf: (app: App, environment: Environment) => string | null;
}

export function createDiscovery(context: ControlContext, { urlOf }: DiscoveryDeps): NounHandlers<typeof table.discovery> {
  const { view } = context;

  const serviceOf = (
    use: string,
    caller: { readonly app: string; readonly environment: string; readonly uses: readonly string[] },
  ): Service => {
    const { app, name, environment } = parseUse(use);
    const text = serviceText({ app, name });
    const common = { service: text, app, name, path: `/${text}`, host: serviceHost({ app, name }) };
    if (app === PLATFORM_APP) return { ...common, environment: null, healthy: null, problem: null };
    const asked = environment ?? caller.environment;
    const nobody = (problem: string): Service => ({ ...common, environment: asked, healthy: 0, problem });
    const provider = view.byName(appRecords, app)?.document;
    const place = provider === undefined ? undefined : view.byName(environmentRecords, `${provider.id}/${asked}`)?.document;
    if (provider === undefined || place === undefined) return nobody(`There is no ${app}/${asked}.`);
    const provided = providesOf(view, place)[name];
    if (provided === undefined) return nobody(`${app}/${asked} does not provide ${name}.`);
    const verdict = verdictOf(caller, { app, environment: asked }, { name, allow: provided.allow }, { method: 'GET', path: '/' });
    const { entrypoints } = environmentState(view, place);
    const healthy = entrypoints.find(({ spec }) => spec.name === provided.entrypoint)?.healthy ?? 0;
    // Where only some methods or paths are allowed, that is no reason not to ask.
    const isRefused = !verdict.allowed && !provided.allow.some((grant) => typeof grant !== 'string');
    return { ...common, environment: asked, healthy, problem: isRefused ? `${verdict.detail} ${verdict.hint}` : null };
  };

  const read = ({ instanceId, environmentId, appId }: Place): Discovery => {
    const app = view.get(appRecords, appId)?.document;
    const environment = view.get(environmentRecords, environmentId)?.document;
    const spec = view.get(instanceSpecRecords, instanceId)?.document;
    if (app === undefined || environment === undefined || spec === undefined)
      throw new Failure('not_found', { message: 'The Environment of this Instance is gone.' });
    const uses = usesOf(view, spec);
    const caller = { app: app.name, environment: environment.name, uses };
    return {
      app: app.name,
      environment: environment.name,
      url: urlOf(app, environment),
      entrypoints: environmentState(view, environment).entrypoints.map(({ spec: { name }, wanted, healthy }) => ({
        name,
        wanted,
        healthy,
      })),
      services: uses.map((use) => serviceOf(use, caller)),
    };
  };

  return {
    get: async ({ principal }) => read(placeOf(principal)),
    watch: ({ principal, lastEventId, signal }) => {
      const place = placeOf(principal);
      return followLevel(context, {
        place,
        lastEventId,
        signal,
        pauseMs: PAUSE_MS,
        isTouched: (changed) => TOUCHING.some((name) => changed.has(name)),
        read: () => read(place),
      });
    },
  };
}
