package main

import (
	"context"
	"log"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// Plugin answers the kubelet. What it knows changes by Refresh, which wakes every open ListAndWatch.
type Plugin struct {
	api.UnimplementedDevicePluginServer

	read    func() (Inventory, error)
	mutex   sync.Mutex
	current Inventory
	changed chan struct{}
}

// NewPlugin makes a plugin that gets its devices from a function.
func NewPlugin(read func() (Inventory, error)) *Plugin {
	return &Plugin{read: read, changed: make(chan struct{})}
}

// Refresh reads the devices anew. When they cannot be read, what was known stays.
func (plugin *Plugin) Refresh() error {
	inventory, err := plugin.read()
	if err != nil {
		return err
	}
	plugin.mutex.Lock()
	defer plugin.mutex.Unlock()
	plugin.current = inventory
	close(plugin.changed)
	plugin.changed = make(chan struct{})
	return nil
}

func (plugin *Plugin) state() (Inventory, <-chan struct{}) {
	plugin.mutex.Lock()
	defer plugin.mutex.Unlock()
	return plugin.current, plugin.changed
}

// GetDevicePluginOptions says that nothing beyond ListAndWatch and Allocate is offered.
func (plugin *Plugin) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return &api.DevicePluginOptions{}, nil
}

// ListAndWatch sends the devices, and again after each change, until the kubelet or the server ends the stream.
func (plugin *Plugin) ListAndWatch(_ *api.Empty, stream grpc.ServerStreamingServer[api.ListAndWatchResponse]) error {
	for {
		inventory, changed := plugin.state()
		if err := stream.Send(&api.ListAndWatchResponse{Devices: inventory.Devices}); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-changed:
		}
	}
}

// Allocate answers with CDI names; the container runtime applies the edits that the spec has for them.
func (plugin *Plugin) Allocate(_ context.Context, request *api.AllocateRequest) (*api.AllocateResponse, error) {
	inventory, _ := plugin.state()
	response := &api.AllocateResponse{}
	for _, container := range request.GetContainerRequests() {
		answer := &api.ContainerAllocateResponse{}
		for _, id := range container.GetDevicesIds() {
			health, found := inventory.Health(id)
			if !found {
				return nil, status.Errorf(codes.NotFound, "there is no device %q", id)
			}
			if health != api.Healthy {
				return nil, status.Errorf(codes.FailedPrecondition, "device %q is unhealthy", id)
			}
			answer.CdiDevices = append(answer.CdiDevices, &api.CDIDevice{Name: inventory.Qualified(id)})
		}
		log.Printf("allocated %v", container.GetDevicesIds())
		response.ContainerResponses = append(response.ContainerResponses, answer)
	}
	return response, nil
}
