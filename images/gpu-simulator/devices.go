package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// all is the CDI device that stands for every device of a spec; the kubelet hands out single ones.
const all = "all"

// Inventory is what a host simulates: the kind of its CDI devices, and the devices with their health.
type Inventory struct {
	Kind    string
	Devices []*api.Device
}

// Qualified returns the name by which a container runtime knows a device.
func (inventory Inventory) Qualified(id string) string { return inventory.Kind + "=" + id }

// Health returns the health of a device, and whether there is one of that name.
func (inventory Inventory) Health(id string) (string, bool) {
	for _, device := range inventory.Devices {
		if device.ID == id {
			return device.Health, true
		}
	}
	return "", false
}

// ReadInventory reads the devices of a CDI spec in JSON. A device with a file of its name in the faults directory is unhealthy.
// A spec that is not there yet has no devices: the kubelet then takes back what it counted before.
func ReadInventory(spec, faults string) (Inventory, error) {
	text, err := os.ReadFile(spec)
	if errors.Is(err, fs.ErrNotExist) {
		return Inventory{}, nil
	}
	if err != nil {
		return Inventory{}, err
	}
	var parsed struct {
		Kind    string `json:"kind"`
		Devices []struct {
			Name string `json:"name"`
		} `json:"devices"`
	}
	if err := json.Unmarshal(text, &parsed); err != nil {
		return Inventory{}, fmt.Errorf("%s is no CDI spec in JSON: %w", spec, err)
	}
	if !strings.Contains(parsed.Kind, "/") {
		return Inventory{}, fmt.Errorf("%s: kind is %q, want VENDOR/CLASS", spec, parsed.Kind)
	}
	inventory := Inventory{Kind: parsed.Kind}
	for _, device := range parsed.Devices {
		if device.Name != all {
			inventory.Devices = append(inventory.Devices, &api.Device{ID: device.Name, Health: health(faults, device.Name)})
		}
	}
	return inventory, nil
}

func health(faults, name string) string {
	if _, err := os.Lstat(filepath.Join(faults, name)); err == nil {
		return api.Unhealthy
	}
	return api.Healthy
}
