// Command gpu-simulator is a device plugin for hosts without GPUs: it speaks the kubelet's device plugin API (v1beta1), with the
// devices that a CDI spec names.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

const (
	registerTimeout  = 10 * time.Second
	registerInterval = time.Second
)

// Settings say where the kubelet, the devices and the faults are.
type Settings struct {
	Resource string
	Sockets  string
	Spec     string
	Faults   string
}

func (settings Settings) kubelet() string { return filepath.Join(settings.Sockets, "kubelet.sock") }

// endpoint is the plugin's own socket, beside the kubelet's and named after the resource.
func (settings Settings) endpoint() string {
	return "llmprov-" + strings.NewReplacer("/", "-", ".", "-").Replace(settings.Resource) + ".sock"
}

func main() {
	settings := Settings{}
	flag.StringVar(&settings.Resource, "resource", "nvidia.com/gpu", "resource `name` that the devices count as")
	flag.StringVar(&settings.Sockets, "sockets", api.DevicePluginPath, "the kubelet's `directory` of device plugin sockets")
	flag.StringVar(&settings.Spec, "spec", "/run/cdi/nvidia.json", "CDI spec, a JSON `file`, whose devices are simulated")
	flag.StringVar(&settings.Faults, "faults", "/run/llmprov/gpu-faults", "`directory`: a file named after a device makes it unhealthy")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := Run(ctx, settings); err != nil {
		log.Fatal(err)
	}
}

// Run serves until the context ends. It registers anew whenever the kubelet makes its socket anew: a restarted kubelet has
// removed the sockets of all plugins and knows none of them.
func Run(ctx context.Context, settings Settings) error {
	watcher, err := watch(settings)
	if err != nil {
		return err
	}
	defer watcher.Close()
	plugin := NewPlugin(func() (Inventory, error) { return ReadInventory(settings.Spec, settings.Faults) })
	if err := plugin.Refresh(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := session(ctx, settings, plugin, watcher); err != nil {
			return err
		}
	}
	return nil
}

func watch(settings Settings) (*fsnotify.Watcher, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	for _, directory := range []string{settings.Sockets, filepath.Dir(settings.Spec), settings.Faults} {
		if err := watcher.Add(directory); err != nil {
			watcher.Close()
			return nil, fmt.Errorf("cannot watch %s: %w", directory, err)
		}
	}
	return watcher, nil
}

// session serves one life of the kubelet: from its socket being there to its being made anew.
func session(ctx context.Context, settings Settings, plugin *Plugin, watcher *fsnotify.Watcher) error {
	server, err := serve(settings, plugin)
	if err != nil {
		return err
	}
	defer server.Stop()
	// The kubelet's socket may be a leftover or not there yet; and it is there before anyone listens on it, so its making is
	// no reason to stop asking.
	again := time.After(0)
	waiting := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again:
			err := register(ctx, settings)
			if err == nil {
				again = nil
				continue
			}
			if !waiting {
				log.Printf("not registered, waiting for the kubelet: %v", err)
			}
			waiting = true
			again = time.After(registerInterval)
		case err := <-watcher.Errors:
			return fmt.Errorf("watching failed: %w", err)
		case event := <-watcher.Events:
			if event.Name == settings.kubelet() && event.Has(fsnotify.Create) {
				log.Print("the kubelet has started")
				return nil
			}
			if !strings.HasPrefix(event.Name, settings.Sockets) {
				refresh(plugin)
			}
		}
	}
}

func refresh(plugin *Plugin) {
	if err := plugin.Refresh(); err != nil {
		log.Printf("devices stay as they were: %v", err)
	}
}

func serve(settings Settings, plugin *Plugin) (*grpc.Server, error) {
	path := filepath.Join(settings.Sockets, settings.endpoint())
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	server := grpc.NewServer()
	api.RegisterDevicePluginServer(server, plugin)
	go func() {
		if err := server.Serve(listener); err != nil {
			log.Printf("serving ended: %v", err)
		}
	}()
	return server, nil
}

func register(ctx context.Context, settings Settings) error {
	connection, err := grpc.NewClient("unix://"+settings.kubelet(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	request := &api.RegisterRequest{Version: api.Version, Endpoint: settings.endpoint(), ResourceName: settings.Resource}
	if _, err := api.NewRegistrationClient(connection).Register(ctx, request); err != nil {
		return err
	}
	log.Printf("registered %s", settings.Resource)
	return nil
}
