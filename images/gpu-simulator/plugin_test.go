package main

import (
	"context"
	"log"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

const patience = 10 * time.Second

const spec = `{"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [{"name": "0"}, {"name": "1"}, {"name": "all"}]}`

// kubelet is the kubelet's side of the API on real sockets: it takes registrations and lets tests call the plugin back.
type kubelet struct {
	api.UnimplementedRegistrationServer

	server     *grpc.Server
	registered chan *api.RegisterRequest
}

func (kubelet *kubelet) Register(_ context.Context, request *api.RegisterRequest) (*api.Empty, error) {
	kubelet.registered <- request
	return &api.Empty{}, nil
}

func startKubelet(t *testing.T, settings Settings) *kubelet {
	t.Helper()
	listener, err := net.Listen("unix", settings.kubelet())
	if err != nil {
		t.Fatal(err)
	}
	return serveKubelet(t, listener)
}

func serveKubelet(t *testing.T, listener net.Listener) *kubelet {
	t.Helper()
	kubelet := &kubelet{server: grpc.NewServer(), registered: make(chan *api.RegisterRequest, 8)}
	api.RegisterRegistrationServer(kubelet.server, kubelet)
	go func() { _ = kubelet.server.Serve(listener) }()
	t.Cleanup(kubelet.server.Stop)
	return kubelet
}

func (kubelet *kubelet) registration(t *testing.T) *api.RegisterRequest {
	t.Helper()
	select {
	case request := <-kubelet.registered:
		return request
	case <-time.After(patience):
		t.Fatal("the plugin did not register")
		return nil
	}
}

func host(t *testing.T) Settings {
	t.Helper()
	// t.TempDir is too long for a socket's path with some names of tests.
	root, err := os.MkdirTemp("", "gpu")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	settings := Settings{
		Resource: "nvidia.com/gpu",
		Sockets:  filepath.Join(root, "sockets"),
		Spec:     filepath.Join(root, "cdi", "nvidia.json"),
		Faults:   filepath.Join(root, "faults"),
	}
	for _, directory := range []string{settings.Sockets, filepath.Dir(settings.Spec), settings.Faults} {
		if err := os.Mkdir(directory, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(t, settings.Spec, spec)
	return settings
}

// logged is what the program logs from now on until the test ends, a line at a time.
func logged(t *testing.T) <-chan string {
	t.Helper()
	lines := make(chan string, 64)
	log.SetOutput(lineWriter(lines))
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	return lines
}

type lineWriter chan<- string

func (lines lineWriter) Write(line []byte) (int, error) {
	lines <- string(line)
	return len(line), nil
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, settings Settings) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, settings) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the plugin ended with %v", err)
		}
	})
}

func client(t *testing.T, settings Settings, request *api.RegisterRequest) api.DevicePluginClient {
	t.Helper()
	path := filepath.Join(settings.Sockets, request.GetEndpoint())
	connection, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return api.NewDevicePluginClient(connection)
}

func watchDevices(t *testing.T, plugin api.DevicePluginClient) func() []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	stream, err := plugin.ListAndWatch(ctx, &api.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	return func() []string {
		t.Helper()
		response, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, device := range response.GetDevices() {
			lines = append(lines, device.GetID()+" "+device.GetHealth())
		}
		return lines
	}
}

// until reads lists until one is as wanted: one change of a file may be several events.
func until(t *testing.T, next func() []string, want ...string) {
	t.Helper()
	for !slices.Equal(next(), want) {
	}
}

func allocate(t *testing.T, plugin api.DevicePluginClient, ids ...string) (*api.AllocateResponse, error) {
	t.Helper()
	request := &api.AllocateRequest{ContainerRequests: []*api.ContainerAllocateRequest{{DevicesIds: ids}}}
	return plugin.Allocate(t.Context(), request)
}

func TestRegistersListsAndAllocatesByCDIName(t *testing.T) {
	settings := host(t)
	kubelet := startKubelet(t, settings)
	start(t, settings)
	request := kubelet.registration(t)
	if request.GetResourceName() != "nvidia.com/gpu" || request.GetVersion() != api.Version {
		t.Fatalf("registered as %v", request)
	}
	plugin := client(t, settings, request)
	if got := watchDevices(t, plugin)(); !slices.Equal(got, []string{"0 Healthy", "1 Healthy"}) {
		t.Fatalf("listed %v", got)
	}
	response, err := allocate(t, plugin, "1")
	if err != nil {
		t.Fatal(err)
	}
	devices := response.GetContainerResponses()[0].GetCdiDevices()
	if len(devices) != 1 || devices[0].GetName() != "nvidia.com/gpu=1" {
		t.Fatalf("allocated %v", devices)
	}
	if _, err := allocate(t, plugin, "7"); status.Code(err) != codes.NotFound {
		t.Fatalf("an unknown device: %v", err)
	}
}

func TestFaultMakesOneDeviceUnhealthyAndItsEndHealsIt(t *testing.T) {
	settings := host(t)
	kubelet := startKubelet(t, settings)
	start(t, settings)
	plugin := client(t, settings, kubelet.registration(t))
	next := watchDevices(t, plugin)
	until(t, next, "0 Healthy", "1 Healthy")
	fault := filepath.Join(settings.Faults, "1")
	write(t, fault, "")
	until(t, next, "0 Healthy", "1 Unhealthy")
	if _, err := allocate(t, plugin, "1"); status.Code(err) != codes.FailedPrecondition {
		t.Fatalf("an unhealthy device: %v", err)
	}
	if err := os.Remove(fault); err != nil {
		t.Fatal(err)
	}
	until(t, next, "0 Healthy", "1 Healthy")
}

func TestSpecDecidesWhichDevicesThereAre(t *testing.T) {
	settings := host(t)
	kubelet := startKubelet(t, settings)
	start(t, settings)
	next := watchDevices(t, client(t, settings, kubelet.registration(t)))
	until(t, next, "0 Healthy", "1 Healthy")
	write(t, settings.Spec, `{"kind": "nvidia.com/gpu", "devices": [{"name": "0"}]}`)
	until(t, next, "0 Healthy")
	write(t, settings.Spec, "no JSON")
	write(t, filepath.Join(settings.Faults, "0"), "")
	write(t, settings.Spec, `{"kind": "nvidia.com/gpu", "devices": [{"name": "0"}, {"name": "5"}]}`)
	until(t, next, "0 Unhealthy", "5 Healthy")
	if err := os.Remove(settings.Spec); err != nil {
		t.Fatal(err)
	}
	until(t, next)
}

func TestRegistersAnewWithEveryKubelet(t *testing.T) {
	settings := host(t)
	first := startKubelet(t, settings)
	start(t, settings)
	first.registration(t)
	// As a restarting kubelet does: all sockets go, then its own comes back.
	first.server.Stop()
	for _, socket := range []string{settings.kubelet(), filepath.Join(settings.Sockets, settings.endpoint())} {
		_ = os.Remove(socket)
	}
	second := startKubelet(t, settings)
	plugin := client(t, settings, second.registration(t))
	until(t, watchDevices(t, plugin), "0 Healthy", "1 Healthy")
}

func TestWaitsForAKubeletThatIsNotThereYet(t *testing.T) {
	settings := host(t)
	start(t, settings)
	kubelet := startKubelet(t, settings)
	kubelet.registration(t)
}

// A listening socket is made in two steps, and a watcher of its directory sees the first.
func TestRegistersWhenTheSocketIsThereBeforeItIsListenedOn(t *testing.T) {
	settings := host(t)
	descriptor, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	socket := os.NewFile(uintptr(descriptor), settings.kubelet())
	defer socket.Close()
	if err := syscall.Bind(descriptor, &syscall.SockaddrUnix{Name: settings.kubelet()}); err != nil {
		t.Fatal(err)
	}
	lines := logged(t)
	start(t, settings)
	if line := <-lines; !strings.Contains(line, "not registered") {
		t.Fatalf("nobody listens, and yet: %s", line)
	}
	if err := syscall.Listen(descriptor, 8); err != nil {
		t.Fatal(err)
	}
	listener, err := net.FileListener(socket)
	if err != nil {
		t.Fatal(err)
	}
	serveKubelet(t, listener).registration(t)
}

func TestRefusesASpecThatItCannotRead(t *testing.T) {
	settings := host(t)
	for _, text := range []string{"no JSON", `{"kind": "gpu", "devices": []}`} {
		write(t, settings.Spec, text)
		if _, err := ReadInventory(settings.Spec, settings.Faults); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}
