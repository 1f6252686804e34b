package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/openfaas/faas-provider/types"
	"github.com/openfaas/go-sdk/stack"
)

// readStack returns what faas-cli would deploy from a stack file, sorted by name.
func readStack(file string) ([]types.FunctionDeployment, error) {
	services, err := stack.ParseYAMLFile(file, "", "", false)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	var functions []types.FunctionDeployment
	for _, name := range slices.Sorted(maps.Keys(services.Functions)) {
		f := services.Functions[name]
		functions = append(functions, types.FunctionDeployment{
			Service:                name,
			Image:                  f.Image,
			EnvProcess:             f.FProcess,
			EnvVars:                f.Environment,
			Secrets:                f.Secrets,
			Labels:                 f.Labels,
			Annotations:            f.Annotations,
			Limits:                 resources(f.Limits),
			Requests:               resources(f.Requests),
			ReadOnlyRootFilesystem: f.ReadOnlyRootFilesystem,
		})
	}
	return functions, nil
}

func resources(r *stack.FunctionResources) *types.FunctionResources {
	if r == nil {
		return nil
	}
	return &types.FunctionResources{Memory: r.Memory, CPU: r.CPU}
}
