"""The kinds of objects that llmprov applies, in the order in which one needs the other."""

from llmprov.cluster.objects import Kind

CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
JOB = Kind("batch/v1", "Job")

_GATEWAY_API = "gateway.networking.k8s.io/v1"
_ENVOY_GATEWAY = "gateway.envoyproxy.io/v1alpha1"
_KEDA = "keda.sh/v1alpha1"

ORDER: tuple[Kind, ...] = (
    Kind("v1", "Namespace"),
    CRD,
    Kind("scheduling.k8s.io/v1", "PriorityClass"),
    Kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"),
    Kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"),
    Kind("v1", "ResourceQuota"),
    Kind("v1", "LimitRange"),
    Kind("v1", "ServiceAccount"),
    Kind("rbac.authorization.k8s.io/v1", "ClusterRole"),
    Kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    Kind("rbac.authorization.k8s.io/v1", "Role"),
    Kind("rbac.authorization.k8s.io/v1", "RoleBinding"),
    Kind("v1", "ConfigMap"),
    Kind("v1", "Secret"),
    Kind("v1", "PersistentVolumeClaim"),
    Kind("networking.k8s.io/v1", "NetworkPolicy"),
    Kind("v1", "Service"),
    Kind("policy/v1", "PodDisruptionBudget"),
    Kind("batch/v1", "Job"),
    Kind("batch/v1", "CronJob"),
    Kind("apps/v1", "DaemonSet"),
    Kind("apps/v1", "StatefulSet"),
    Kind("apps/v1", "Deployment"),
    Kind("autoscaling/v2", "HorizontalPodAutoscaler"),
    # The API server asks what these name: not before it is there.
    Kind("apiregistration.k8s.io/v1", "APIService"),
    Kind("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
    Kind("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
    Kind(_ENVOY_GATEWAY, "EnvoyProxy"),
    Kind(_GATEWAY_API, "GatewayClass"),
    Kind(_GATEWAY_API, "Gateway"),
    Kind(_ENVOY_GATEWAY, "ClientTrafficPolicy"),
    Kind(_ENVOY_GATEWAY, "SecurityPolicy"),
    Kind(_ENVOY_GATEWAY, "EnvoyExtensionPolicy"),
    Kind(_ENVOY_GATEWAY, "HTTPRouteFilter"),
    Kind(_ENVOY_GATEWAY, "BackendTrafficPolicy"),
    Kind(_GATEWAY_API, "HTTPRoute"),
    Kind(_KEDA, "TriggerAuthentication"),
    Kind(_KEDA, "ScaledObject"),
)
"""Those of this list are also searched for objects that left a set; sets of the kinds they define bring their own."""

NEVER_PRUNED = frozenset({"Namespace", "CustomResourceDefinition", "PersistentVolumeClaim"})
"""Deleting these deletes what others keep in them: never without being asked."""
