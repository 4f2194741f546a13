// Routes as the other modules and people see them: who has a host and path, where an Environment is reached, what is in force.

import type { RouteRule } from '../../api/dataplane.ts';
import type { table } from '../../api/table.ts';
import { effectiveRoutes } from '../../model/effective.ts';
import type { App, Environment } from '../../model/documents.ts';
import { ANY_HOST, parseRouteHost, routeHostText } from '../../model/host.ts';
import type { RouteSpec } from '../../model/manifest-types.ts';
import { defaultHost, platformHost } from '../../model/names.ts';
import { explainRequest } from '../../model/explain.ts';
import { routeKey } from '../../model/route-match.ts';
import { conditionTexts, policyTexts } from '../../model/route-text.ts';
import { mainRoute, routeUrl } from '../../model/route-url.ts';
import type { RouteConditions } from '../../model/route-match.ts';
import { appRecords } from '../apps/records.ts';
import type { ControlContext } from '../context.ts';
import { deploymentRecords, environmentRecords } from '../deploys/records.ts';
import type { Handler, NounHandlers } from '../handler.ts';
import { findEnvironment } from '../lookup.ts';
import { createEdges } from './edges.ts';
import type { Edges, TrafficState } from './edges.ts';
import { createLiveTable } from './table.ts';
import type { CertificateSource, LiveTable } from './table.ts';

type RouteReply = Awaited<ReturnType<Routing['environmentRoutes']>>['items'][number];

const RECONNECT_GRACE_MS = 5000;

export interface RouteOwner {
  readonly environmentId: string;
  readonly app: string;
  readonly environment: string;
}

export interface Routing {
  readonly handlers: Edges['handlers'] & { readonly routes: NounHandlers<typeof table.routes> };
  /** For the noun `environments`. */
  readonly environmentRoutes: Handler<typeof table.environments.routes>;
  /** Who has a Route that matches the same requests now; null for nobody. */
  readonly routeOwner: (route: RouteConditions) => RouteOwner | null;
  /** Another Environment that asks the clients of this host for certificates of another authority; null for none. */
  readonly otherAuthority: (environmentId: string | null, host: string, authority: string) => RouteOwner | null;
  /** Where people reach the Environment: the main Route of `web`, else of any Entrypoint; the default host before a Deployment. null: nowhere. */
  readonly urlOf: (app: App, environment: Environment) => string | null;
  readonly trafficState: () => TrafficState;
  /** Resolves with true when every connected Edge has the table of this moment in force, with false after so long. */
  readonly everywhere: (timeoutMs: number) => Promise<boolean>;
  readonly onTrafficChange: (listener: () => void) => () => void;
  readonly hosts: LiveTable['hosts'];
  readonly setChallenges: LiveTable['setChallenges'];
  readonly certificatesChanged: LiveTable['certificatesChanged'];
  readonly onDemandCovers: LiveTable['onDemandCovers'];
  readonly certifyAlso: LiveTable['certifyAlso'];
  readonly onWanted: Edges['onWanted'];
  readonly attachments: Edges['attachments'];
  readonly onAttachments: Edges['onAttachments'];
  /** Leads the platform's reserved host to its API. */
  readonly servePlatform: (target: { readonly nodeId: string; readonly host: string; readonly port: number }) => void;
  readonly edges: Edges['list'];
  readonly edgeEnded: Edges['forget'];
  stop(): void;
}

export function createRouting(
  context: ControlContext,
  options: { readonly reconnectGraceMs?: number; readonly otherEdges?: boolean; readonly certificates?: CertificateSource } = {},
): Routing {
  const { view, settings } = context;
  const live = createLiveTable(context, options.certificates);
  const edges = createEdges(context, {
    table: live,
    reconnectGraceMs: options.reconnectGraceMs ?? RECONNECT_GRACE_MS,
    others: options.otherEdges ?? false,
  });

  const routesOf = (app: App, environment: Environment): readonly { readonly entrypoint: string; readonly route: RouteSpec }[] => {
    const id = environment.stableDeploymentId ?? environment.candidateDeploymentId;
    const deployment = id === null ? undefined : view.get(deploymentRecords, id)?.document;
    return Object.entries(deployment?.entrypoints ?? {}).flatMap(([entrypoint, spec]) =>
      spec.run === 'service' && spec.listens
        ? effectiveRoutes(spec, app.name, environment.name, settings.domain).map((route) => ({ entrypoint, route }))
        : [],
    );
  };

  const ownerOf = (rule: RouteRule | undefined): RouteOwner | null => {
    const environment =
      rule === undefined ? undefined : view.get(environmentRecords, rule.group.slice(0, rule.group.indexOf('/')))?.document;
    const app = environment === undefined ? undefined : view.get(appRecords, environment.appId)?.document;
    if (environment === undefined || app === undefined) return null;
    return { environmentId: environment.id, app: app.name, environment: environment.name };
  };

  const replyOf = (rule: RouteRule): RouteReply => {
    const group = live.groupOf(rule.group);
    return {
      host: rule.host,
      path: rule.path,
      pathType: rule.pathType ?? 'prefix',
      conditions: conditionTexts(rule),
      policy: policyTexts(rule.policy),
      app: group?.app ?? '',
      environment: group?.environment ?? '',
      entrypoint: rule.group.slice(rule.group.indexOf('/') + 1),
      url: routeUrl(settings, rule),
      targets: (group?.targets ?? []).filter((target) => target.state === 'active').length,
    };
  };

  return {
    handlers: {
      ...edges.handlers,
      routes: {
        list: async () => {
          live.flush();
          return { items: live.snapshot().rules.map(replyOf) };
        },
        explain: async (call) => {
          const { target, outcome, why, rule, others } = explainRequest(await live.matcher(), call.body);
          return {
            outcome,
            why,
            host: target?.host ?? null,
            path: target?.path ?? null,
            route: rule === null ? null : replyOf(rule),
            others: others.map((other) => ({ route: replyOf(other.rule), miss: other.miss })),
          };
        },
      },
    },
    environmentRoutes: async (call) => {
      const { environment } = findEnvironment(view, call.params.app, call.params.environment);
      live.flush();
      const part = live.parts().get(environment.document.id);
      const lost = new Set(
        live
          .conflicts()
          .filter((conflict) => conflict.loserId === environment.document.id)
          .map((conflict) => routeKey(conflict.rule)),
      );
      const inForce = (part?.rules ?? []).filter((rule) => !lost.has(routeKey(rule)));
      return { items: inForce.map(replyOf) };
    },
    routeOwner: (route) => {
      live.flush();
      return ownerOf(live.ruleOf(routeKey(route)));
    },
    otherAuthority: (environmentId, host, authority) => {
      live.flush();
      for (const rule of live.snapshot().rules) {
        const its = rule.policy?.clientCertificates?.authority;
        if (its === undefined || its === authority || spelled(rule.host) !== spelled(host)) continue;
        const owner = ownerOf(rule);
        if (owner !== null && owner.environmentId !== environmentId) return owner;
      }
      return null;
    },
    urlOf: (app, environment) => {
      if (environment.stableDeploymentId === null && environment.candidateDeploymentId === null) {
        return routeUrl(settings, { host: defaultHost(app.name, environment.name, settings.domain), path: '/' });
      }
      const routes = routesOf(app, environment);
      const chosen = mainRoute(routes.filter(({ entrypoint }) => entrypoint === 'web')) ?? mainRoute(routes);
      if (chosen === undefined) return null;
      const { host } = chosen.route;
      // Where every host leads, that of the Environment does.
      return routeUrl(settings, {
        ...chosen.route,
        host: host === ANY_HOST ? defaultHost(app.name, environment.name, settings.domain) : host,
      });
    },
    trafficState: edges.trafficState,
    everywhere: edges.everywhere,
    onTrafficChange: edges.onTrafficChange,
    hosts: () => live.hosts(),
    setChallenges: (answers) => live.setChallenges(answers),
    certificatesChanged: () => live.certificatesChanged(),
    onDemandCovers: (host) => live.onDemandCovers(host),
    certifyAlso: (certified) => live.certifyAlso(certified),
    onWanted: edges.onWanted,
    attachments: edges.attachments,
    onAttachments: edges.onAttachments,
    servePlatform: (target) => live.servePlatform(platformHost(settings.domain), target),
    edges: edges.list,
    edgeEnded: edges.forget,
    stop: () => {
      edges.stop();
      live.stop();
    },
  };
}

/** One spelling for the host of a Route. */
function spelled(host: string): string {
  const parsed = parseRouteHost(host);
  return parsed === null ? host : routeHostText(parsed);
}
