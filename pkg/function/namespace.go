package function

// Namespace is a place for functions, as a user sees it. Labels and Annotations are all that it carries.
type Namespace struct {
	Name        string
	Labels      map[string]string
	Annotations map[string]string
}
